/** Values of one workflow put into another: those that made a picture, into the workflow that is open. */

import type { InputPort } from "../api/client";
import type { Edit } from "./edit";
import { chain, setInput } from "./edit";
import type { Specs } from "./graphs";
import { specOf } from "./graphs";
import { namedInput } from "./interface";
import type { Target, Workflow } from "./types";
import { edgesIn } from "./types";

/** `prompt`: texts of several lines; `seed`: seeds; `form`: named inputs; `all`: every value. */
export type Part = "prompt" | "seed" | "form" | "all";

const isOf: Record<Part, (port: InputPort) => boolean> = {
  prompt: (port) => port.kind === "STRING" && port.widget === "multiline",
  seed: (port) => port.widget === "seed",
  form: () => true,
  all: () => true,
};

export interface Recalled {
  edit: Edit;
  /** How many values were put in, and how many have no place here. */
  placed: number;
  left: number;
}

/** An edit of `here` that puts in a part of the values of `made`: into named inputs of the same name, else into the same node, else into the only one of its type. */
export function recall(made: Workflow, here: Workflow, specs: Specs, part: Part): Recalled {
  const edits: Edit[] = [];
  let left = 0;
  for (const [id, node] of Object.entries(made.nodes))
    for (const port of specOf(specs, node)?.inputs ?? []) {
      const value = node.inputs[port.name];
      if (value === undefined || edgesIn(value).length || !isOf[part](port)) continue;
      const name = nameOf(made, { node: id, input: port.name });
      if (part === "form" && name === undefined) continue;
      const named = here.inputs.find((one) => one.name === name)?.to;
      const places = (named ?? (part === "form" ? [] : likePlaces(made, here, id, port.name))).filter((place) => isFree(here, place));
      if (places.length === 0) left += 1;
      else edits.push(...places.map(({ node, input }) => setInput(node, input, value)));
    }
  return { edit: chain(...edits), placed: edits.length, left };
}

const nameOf = (workflow: Workflow, target: Target) => namedInput(workflow, target)?.name;

/** The same input of the same node, else of the only one of its type. */
function likePlaces(made: Workflow, here: Workflow, id: string, input: string): Target[] {
  const type = made.nodes[id]?.type;
  if (here.nodes[id]?.type === type) return [{ node: id, input }];
  const ofType = ({ nodes }: Workflow) => Object.keys(nodes).filter((one) => nodes[one]?.type === type);
  const [only, ...more] = ofType(here);
  return only !== undefined && more.length === 0 && ofType(made).length === 1 ? [{ node: only, input }] : [];
}

/** An edge that leads there is not replaced. */
const isFree = ({ nodes }: Workflow, { node, input }: Target) =>
  node in nodes && edgesIn(nodes[node]?.inputs[input]).length === 0;
