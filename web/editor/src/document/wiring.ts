/** Which edges may be: what fits, what would make a circle, what a new node is wired to. */

import type { InputPort, NodeSpec, OutputPort } from "../api/client";
import type { Strings } from "../strings";
import type { Edit, Inlet } from "./edit";
import { chain, changeNode, connect, goItemByItem } from "./edit";
import { fits, goesByItem } from "./fits";
import { specOf } from "./graphs";
import type { Edge, Workflow, WorkflowNode } from "./types";
import { edgesIn } from "./types";

export type Specs = ReadonlyMap<string, NodeSpec>;

export const outputPort = (workflow: Workflow, specs: Specs, edge: Edge): OutputPort | undefined =>
  specOf(specs, workflow.nodes[edge.node])?.outputs.find(({ name }) => name === edge.output);

export const inputPort = (workflow: Workflow, specs: Specs, node: string, input: string): InputPort | undefined =>
  specOf(specs, workflow.nodes[node])?.inputs.find(({ name }) => name === input);

/** Whether a node needs another one, directly or through others. */
export function needs(workflow: Workflow, node: string, other: string): boolean {
  const seen = new Set<string>();
  const open = [node];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (id === other) return true;
    if (seen.has(id)) continue;
    seen.add(id);
    for (const value of Object.values(workflow.nodes[id]?.inputs ?? {}))
      for (const { edge } of edgesIn(value)) open.push(edge.node);
  }
  return false;
}

/** Why an edge cannot be, in words; null when it can. */
export function refusal(workflow: Workflow, specs: Specs, edge: Edge, inlet: Inlet, words: Strings["canvas"]["refused"]) {
  const output = outputPort(workflow, specs, edge);
  const input = inputPort(workflow, specs, inlet.node, inlet.input);
  if (!output || !input) return words.missing;
  if (needs(workflow, edge.node, inlet.node)) return words.cycle;
  if (fits(output, input) || itemwise(workflow, specs, output, inlet.node, input)) return null;
  const shown = (port: InputPort | OutputPort) => (port.is_list ? words.list(port.kind) : port.kind);
  return words.kind(output.name, shown(output), input.name, shown(input));
}

/** Whether a list leads into an input for single values, so that the node runs once for each item. */
function itemwise(workflow: Workflow, specs: Specs, output: OutputPort, node: string, input: InputPort): boolean {
  const spec = specs.get(workflow.nodes[node]?.type ?? "");
  return goesByItem(output, input) && spec !== undefined && spec.outputs.every(({ is_list }) => !is_list);
}

/** The edit that leads an edge into an inlet, as a whole value or as an item of its list. */
export function wire(workflow: Workflow, specs: Specs, edge: Edge, inlet: Inlet): Edit {
  const output = outputPort(workflow, specs, edge);
  const input = inputPort(workflow, specs, inlet.node, inlet.input);
  if (output && input && itemwise(workflow, specs, output, inlet.node, input))
    return chain(connect(edge, { ...inlet, index: null }), goItemByItem(inlet.node, inlet.input));
  const item = output !== undefined && input !== undefined && fits(output, input) === "item";
  return connect(edge, item ? inlet : { ...inlet, index: null }, item);
}

/** The first input of a node type that takes an output; free ones first, and the exact kind before ANY. */
export function inletFor(spec: NodeSpec, output: OutputPort, node?: WorkflowNode): InputPort | undefined {
  const fitting = spec.inputs.filter((input) => fits(output, input));
  const free = fitting.filter(({ name, is_list }) => is_list || edgesIn(node?.inputs[name]).length === 0);
  const ranked = free.length ? free : fitting;
  return ranked.find(({ kind }) => kind === output.kind) ?? ranked[0];
}

export function outletFor(spec: NodeSpec, input: InputPort): OutputPort | undefined {
  const fitting = spec.outputs.filter((output) => fits(output, input));
  return fitting.find(({ kind }) => kind === input.kind) ?? fitting[0];
}

export type Choices = Readonly<Record<string, readonly string[]>>;

/** A new node of a type. Where its author gave no default, it starts with the plainest value that there is. */
export function nodeOf(spec: NodeSpec, choices: Choices): WorkflowNode {
  const starts = spec.inputs.map((port) => [port.name, startOf(port, choices)] as const);
  return { type: spec.type, version: spec.version, inputs: Object.fromEntries(starts.filter(([, start]) => start !== undefined)) };
}

function startOf(port: InputPort, choices: Choices): unknown {
  if (port.widget === "seed") return "random";
  if (!port.required || port.is_list) return undefined;
  switch (port.kind) {
    case "STRING":
      return "";
    case "BOOLEAN":
      return false;
    case "INT":
    case "FLOAT":
      return Math.min(Math.max(0, port.minimum ?? 0), port.maximum ?? Infinity);
    case "CHOICE":
    case "MODEL_FILE":
      return port.choices[0] ?? choices[port.source ?? ""]?.[0];
    default:
      return undefined;
  }
}

/** Make a node another type: inputs of the same name, else of a kind that fits, and edges that fit stay. */
export function replaceType(workflow: Workflow, specs: Specs, choices: Choices, id: string, spec: NodeSpec): Edit {
  const old = workflow.nodes[id];
  const before = old && specs.get(old.type);
  const renamedOutputs = before ? alike(before.outputs, spec) : asUsed(workflow, specs, id, spec);
  return (current) => {
    const own = changeNode(id, (node) => {
      const { inputs: _, ...rest } = node;
      return { ...rest, type: spec.type, version: spec.version, inputs: carried(current, specs, node, nodeOf(spec, choices), spec) };
    })(current);
    const nodes = Object.fromEntries(
      Object.entries(own.nodes).map(([name, node]) => [name, name === id ? node : followed(node, id, renamedOutputs)]),
    );
    return {
      ...own,
      nodes,
      inputs: own.inputs
        .map((item) => ({
          ...item,
          to: item.to.filter(({ node, input }) => node !== id || spec.inputs.some(({ name }) => name === input)),
        }))
        .filter(({ to }) => to.length),
      outputs: own.outputs.flatMap((item) => {
        if (item.from.node !== id) return [item];
        const output = renamedOutputs.get(item.from.output);
        return output ? [{ ...item, from: { node: id, output } }] : [];
      }),
    };
  };
}

/** What becomes of outputs: those of the same name and kind stay, else the first of the kind takes their place. */
function alike(outputs: readonly OutputPort[], spec: NodeSpec): Map<string, string> {
  const renamed = new Map<string, string>();
  for (const output of outputs) {
    const same = spec.outputs.find(({ name, kind, is_list }) => name === output.name && kind === output.kind && is_list === output.is_list);
    const next = same ?? spec.outputs.find(({ kind, is_list }) => kind === output.kind && is_list === output.is_list);
    if (next) renamed.set(output.name, next.name);
  }
  return renamed;
}

/** The same for a node whose type nobody knows: outputs of the same name stay, else the first that fits all that used it. */
function asUsed(workflow: Workflow, specs: Specs, id: string, spec: NodeSpec): Map<string, string> {
  const users = new Map<string, (InputPort | undefined)[]>(
    workflow.outputs.filter(({ from }) => from.node === id).map(({ from }) => [from.output, []]),
  );
  for (const [node, { inputs }] of Object.entries(workflow.nodes))
    for (const [name, value] of Object.entries(inputs))
      for (const { edge } of edgesIn(value))
        if (edge.node === id) users.set(edge.output, [...(users.get(edge.output) ?? []), inputPort(workflow, specs, node, name)]);
  const renamed = new Map<string, string>();
  for (const [output, ports] of users) {
    const fitting = ports.length ? spec.outputs.find((own) => ports.every((port) => port && fits(own, port))) : undefined;
    const next = spec.outputs.find(({ name }) => name === output) ?? fitting;
    if (next) renamed.set(output, next.name);
  }
  return renamed;
}

function carried(workflow: Workflow, specs: Specs, node: WorkflowNode, fresh: WorkflowNode, spec: NodeSpec) {
  const inputs = { ...fresh.inputs };
  const left = new Map(Object.entries(node.inputs));
  for (const port of spec.inputs) {
    if (!left.has(port.name) || !takes(workflow, specs, port, left.get(port.name))) continue;
    inputs[port.name] = left.get(port.name);
    left.delete(port.name);
  }
  for (const [name, value] of left) {
    if (edgesIn(value).length === 0) continue;
    const port = spec.inputs.find((port) => edgesIn(inputs[port.name]).length === 0 && takes(workflow, specs, port, value));
    if (port) inputs[port.name] = left.get(name);
  }
  return inputs;
}

function takes(workflow: Workflow, specs: Specs, port: InputPort, value: unknown): boolean {
  const edges = edgesIn(value);
  if (edges.length === 0) return Array.isArray(value) === port.is_list || port.kind === "JSON" || port.kind === "ANY";
  return edges.every(({ edge, index }) => {
    const output = outputPort(workflow, specs, edge);
    return output !== undefined && fits(output, port) === (index === null ? "whole" : "item");
  });
}

function followed(node: WorkflowNode, id: string, outputs: ReadonlyMap<string, string>): WorkflowNode {
  if (!Object.values(node.inputs).some((value) => edgesIn(value).some(({ edge }) => edge.node === id))) return node;
  const inputs: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(node.inputs)) {
    const mine = edgesIn(value).filter(({ edge }) => edge.node === id);
    const turned = (item: unknown) => {
      const at = mine.find(({ edge }) => edge === item);
      if (!at) return item;
      const output = outputs.get(at.edge.output);
      return output ? { node: id, output } : undefined;
    };
    const next = Array.isArray(value) ? value.map(turned).filter((item) => item !== undefined) : turned(value);
    if (next !== undefined && !(Array.isArray(next) && next.length === 0 && mine.length)) inputs[name] = next;
  }
  return { ...node, inputs };
}
