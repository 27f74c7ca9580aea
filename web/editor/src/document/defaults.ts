/** The settings that suit a model, and the inputs of a workflow that they are for. Pure. */

import type { Schemas } from "../api/client";
import type { Edit } from "./edit";
import { chain, setInput } from "./edit";
import type { Workflow } from "./types";
import { edgesIn, isEdge } from "./types";
import type { Specs } from "./wiring";

export type Defaults = Schemas["ModelDefaults"];

const SAMPLING = ["steps", "cfg", "sampler", "schedule"] as const;
const SIZE = ["width", "height"] as const;

/** Put a model's settings into the nodes that its model goes to, and its size into their empty latents. Edges stay. */
export function applyDefaults(specs: Specs, loader: string, defaults: Defaults): Edit {
  return (workflow) => {
    const samplers = takersOf(workflow, specs, loader);
    const latents = [...new Set(samplers.flatMap((id) => emptyLatents(workflow, specs, id)))];
    const put = (ids: string[], names: readonly (keyof Defaults)[]) =>
      ids.flatMap((id) => names.flatMap((name) => setting(workflow, specs, id, name, defaults[name])));
    return chain(...put(samplers, SAMPLING), ...put(latents, SIZE))(workflow);
  };
}

function setting(workflow: Workflow, specs: Specs, id: string, name: string, value: unknown): Edit[] {
  const node = workflow.nodes[id];
  const port = specs.get(node?.type ?? "")?.inputs.find((one) => one.name === name);
  const held = node?.inputs[name];
  const same = held === value || (held === undefined && port?.default === value);
  return !port || value === undefined || value === null || same || edgesIn(held).length ? [] : [setInput(id, name, value)];
}

/** The nodes that a node's MODEL goes to, directly or through others. */
function takersOf(workflow: Workflow, specs: Specs, from: string): string[] {
  const found = new Set<string>();
  const open = [from];
  for (let at = open.pop(); at !== undefined; at = open.pop())
    for (const id of Object.keys(workflow.nodes))
      if (!found.has(id) && sourcesOf(workflow, specs, id, "MODEL").includes(at)) {
        found.add(id);
        open.push(id);
      }
  return [...found];
}

/** The nodes without a latent of their own whose latent a node starts from. */
function emptyLatents(workflow: Workflow, specs: Specs, id: string, seen = new Set<string>()): string[] {
  if (seen.has(id)) return [];
  seen.add(id);
  const before = sourcesOf(workflow, specs, id, "LATENT");
  return before.flatMap((one) =>
    sourcesOf(workflow, specs, one, "LATENT").length ? emptyLatents(workflow, specs, one, seen) : [one],
  );
}

function sourcesOf(workflow: Workflow, specs: Specs, id: string, kind: string): string[] {
  const node = workflow.nodes[id];
  const ports = specs.get(node?.type ?? "")?.inputs.filter((port) => port.kind === kind) ?? [];
  return ports.map(({ name }) => node?.inputs[name]).flatMap((value) => (isEdge(value) ? [value.node] : []));
}

/** The settings as one line; "" without any. */
export function shownDefaults(defaults: Defaults): string {
  const said = SAMPLING.flatMap((name) => (defaults[name] === undefined || defaults[name] === null ? [] : `${name} ${defaults[name]}`));
  return [...said, ...(defaults.width ? [`${defaults.width} × ${defaults.height}`] : [])].join(", ");
}
