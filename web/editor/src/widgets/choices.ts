import { useCallback, useEffect } from "react";
import type { InputPort } from "../api/client";
import { told } from "../api/client";
import { useCatalog } from "../store/catalog";
import { useWorkspace } from "../store/workspace";

interface Offer {
  choices: readonly string[];
  /** Whether the choices were told by the server yet. */
  known: boolean;
  /** Ask again; absent where the choices are the port's own. */
  refresh?: () => void;
}

const NOTHING: readonly string[] = [];

/** What may stand in a port: its own choices, or those of its source, which are fetched when first needed. */
export function useOffer(port: InputPort): Offer {
  const source = port.choices.length ? null : port.source;
  const found = useCatalog((state) => (source ? state.choices[source] : undefined));
  const load = useCatalog((state) => state.loadChoices);
  const refresh = useCallback(() => {
    if (source) load(source).catch((error) => useWorkspace.getState().notify("error", told(error)));
  }, [load, source]);
  const unknown = source !== null && found === undefined;
  useEffect(() => {
    if (unknown) refresh();
  }, [unknown, refresh]);
  if (source === null) return { choices: port.choices, known: true };
  return { choices: found ?? NOTHING, known: found !== undefined, refresh };
}

const PINNED = /@sha256:[0-9a-f]{64}$/;

/** Whether a name stands for nothing that the server has. One with a hash may have moved: the server knows. */
export function isMissing(name: string, { choices, known }: Offer): boolean {
  return known && name !== "" && !PINNED.test(name) && !choices.includes(name);
}
