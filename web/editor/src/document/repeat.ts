/** Nodes that are repeated turn by turn: their ports, and the commands that change how. */

import type { InputPort, NodeSpec, OutputPort } from "../api/client";
import type { Edit } from "./edit";
import { chain, changeNode } from "./edit";
import { fits } from "./fits";
import type { Repeat, WorkflowNode } from "./types";

export const TURNS = "turns";
const MAX_TURNS = 10_000;

/** The ports of a repeated node: an input for the number of turns, and lists of what it collects. */
export function repeated(spec: NodeSpec, { collect = [] }: Repeat, turns: InputPort): NodeSpec {
  const port = { ...turns, name: TURNS, kind: "INT", required: true, minimum: 1, maximum: MAX_TURNS };
  const outputs = spec.outputs.map((output) => (collect.includes(output.name) ? { ...output, is_list: true } : output));
  return { ...spec, inputs: [...spec.inputs.filter(({ name }) => name !== TURNS), port], outputs };
}

/** The outputs that an input can get from the turn before. */
export const carriers = (spec: NodeSpec, input: InputPort): OutputPort[] =>
  spec.outputs.filter((output) => fits(output, input) === "whole");

/** Repeat a node, carrying outputs to inputs of the same name; or let it run once again. */
export function toggleRepeat(id: string, spec: NodeSpec): Edit {
  const pairs = spec.inputs.filter((input) => carriers(spec, input).some(({ name }) => name === input.name));
  const carry = Object.fromEntries(pairs.map(({ name }) => [name, name]));
  return (workflow) => {
    if (workflow.nodes[id]?.repeat === undefined)
      return changeNode(id, (node) => ({ ...node, inputs: { ...node.inputs, [TURNS]: 2 }, repeat: { carry } }))(workflow);
    const inputs = workflow.inputs
      .map((item) => ({ ...item, to: item.to.filter(({ node, input }) => node !== id || input !== TURNS) }))
      .filter(({ to }) => to.length);
    return chain(changeNode(id, once), (changed) => ({ ...changed, inputs }))(workflow);
  };
}

function once({ repeat: _, each, on_error, ...node }: WorkflowNode): WorkflowNode {
  const { [TURNS]: __, ...inputs } = node.inputs;
  const left = each?.filter((name) => name !== TURNS) ?? [];
  return { ...node, inputs, ...(left.length ? { each: left } : {}), ...(left.length && on_error ? { on_error } : {}) };
}

/** Carry an output to an input of the next turn; null: that input keeps its value. */
export const setCarry = (id: string, input: string, output: string | null): Edit =>
  changeRepeat(id, ({ carry = {}, ...repeat }) => {
    const { [input]: _, ...rest } = carry;
    return { ...repeat, carry: output === null ? rest : { ...rest, [input]: output } };
  });

/** Let an output be a list with an item for each turn, or the value of the last turn. */
export const toggleCollect = (id: string, output: string): Edit =>
  changeRepeat(id, ({ collect = [], ...repeat }) => {
    const names = collect.includes(output) ? collect.filter((name) => name !== output) : [...collect, output];
    return names.length ? { ...repeat, collect: names } : repeat;
  });

/** Name the output that ends the loop, or the input that gets the number of the turn; null: none. */
export const setRole = (id: string, role: "until" | "number", port: string | null): Edit =>
  changeRepeat(id, ({ [role]: _, ...repeat }) => (port === null ? repeat : { ...repeat, [role]: port }));

function changeRepeat(id: string, change: (repeat: Repeat) => Repeat): Edit {
  return changeNode(id, (node) => (node.repeat ? { ...node, repeat: change(node.repeat) } : node));
}
