import { useEffect } from "react";
import type { InputPort } from "../api/client";
import { applyDefaults, shownDefaults } from "../document/defaults";
import { useCatalog } from "../store/catalog";
import { useSeen } from "../store/seen";
import { keyOf, useModels } from "../store/models";
import { useStrings } from "../strings";

const SOURCES = ["models/checkpoints", "models/unet"];

interface ModelDefaultsProps {
  node: string;
  port: InputPort;
  /** The chosen name. */
  value: unknown;
}

/** The settings that suit a chosen model, with a button that puts them where they go; nothing for another port. */
export function ModelDefaults({ node, port, value }: ModelDefaultsProps) {
  const source = port.kind === "MODEL_FILE" && SOURCES.includes(port.source ?? "") ? (port.source as string) : null;
  const name = value === undefined ? port.default : value;
  return source && typeof name === "string" && name ? <Shown node={node} source={source} name={name} /> : null;
}

function Shown({ node, source, name }: { node: string; source: string; name: string }) {
  const words = useStrings().widgets;
  const specs = useCatalog((state) => state.specs);
  const offered = useCatalog((state) => state.choices[source]?.includes(name) ?? false);
  const load = useModels((state) => state.load);
  const defaults = useModels((state) => state.facts[keyOf(source, name)]?.defaults);
  const edit = useSeen((state) => state.edit);
  const change = defaults && applyDefaults(specs, node, defaults);
  const differs = useSeen(({ workflow }) => change !== undefined && change(workflow) !== workflow);
  useEffect(() => {
    if (offered) void load(source, name);
  }, [load, offered, source, name]);
  const text = defaults && shownDefaults(defaults);
  if (!text || !change) return null;
  return (
    <div className="model-defaults">
      <span className="quiet">{words.modelDefaults(text)}</span>
      {differs && (
        <button className="button-link" onClick={() => edit(change)}>
          {words.useDefaults}
        </button>
      )}
    </div>
  );
}
