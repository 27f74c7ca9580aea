import { useEffect } from "react";
import type { InputPort } from "../api/client";
import { told } from "../api/client";
import { useCatalog } from "../store/catalog";
import { useWorkspace } from "../store/workspace";

/** What may stand in a port: its own choices, or those of its source, which are fetched when first needed. */
export function useChoices(port: InputPort): readonly string[] {
  const source = port.choices.length ? null : port.source;
  const known = useCatalog((state) => (source ? state.choices[source] : undefined));
  const load = useCatalog((state) => state.loadChoices);
  const unknown = source !== null && known === undefined;
  useEffect(() => {
    if (unknown) load(source).catch((error) => useWorkspace.getState().notify("error", told(error)));
  }, [unknown, source, load]);
  return source === null ? port.choices : (known ?? []);
}
