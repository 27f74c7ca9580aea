/** Masks that are painted over pictures: a file of its own in a node of its own, so that no pixel is lost. */

import type { InputPort, NodeSpec } from "../api/client";
import type { Edit } from "./edit";
import { addNode, chain, changeNode, freshId } from "./edit";
import type { Workflow, WorkflowNode } from "./types";
import { isEdge } from "./types";

/** An input that holds a picture's name. */
export interface Holder {
  node: string;
  input: string;
  /** Empty: none yet. */
  name: string;
}

type Specs = ReadonlyMap<string, NodeSpec>;

const MASK = "mask";
const BELOW = 360;

/** The pictures of a workflow over which a mask can be painted; those that stand nearest to a node come first. */
export function picturesIn(workflow: Workflow, specs: Specs, near?: string): Holder[] {
  const found = holders(workflow, specs, (port) => port.widget !== MASK).filter(({ name }) => name !== "");
  return byDistance(workflow, found, near);
}

/** The inputs of a workflow that hold masks. */
export function masksIn(workflow: Workflow, specs: Specs, near?: string): Holder[] {
  return byDistance(workflow, holders(workflow, specs, (port) => port.widget === MASK), near);
}

function holders({ nodes }: Workflow, specs: Specs, wanted: (port: InputPort) => boolean): Holder[] {
  return Object.entries(nodes).flatMap(([node, { type, inputs }]) => {
    const ports = specs.get(type)?.inputs.filter((port) => port.kind === "FILE" && wanted(port)) ?? [];
    const free = ports.filter(({ name }) => !isEdge(inputs[name]));
    return free.map(({ name: input }) => ({ node, input, name: textOf(inputs[input]) }));
  });
}

const textOf = (value: unknown) => (typeof value === "string" ? value : "");

function byDistance({ layout }: Workflow, found: Holder[], near?: string): Holder[] {
  const from = near === undefined ? undefined : layout.nodes[near];
  if (from === undefined) return found;
  const distance = ({ node }: Holder) => {
    const place = layout.nodes[node];
    return place ? Math.hypot(place.x - from.x, place.y - from.y) : Infinity;
  };
  return [...found].sort((a, b) => distance(a) - distance(b));
}

/** How a mask node reads its picture. */
export interface Reading {
  channel: string;
  invert: boolean;
}

export function readingOf(node: WorkflowNode | undefined): Reading {
  const { channel, invert } = node?.inputs ?? {};
  return { channel: typeof channel === "string" ? channel : "luminance", invert: invert === true };
}

/** Put a painted mask into an input: white is repainted, whatever the node read before. */
export function putMask({ node, input }: Pick<Holder, "node" | "input">, name: string): Edit {
  return changeNode(node, (old) => {
    const { channel, invert, ...rest } = old.inputs;
    const kept = { ...(isEdge(channel) ? { channel } : {}), ...(isEdge(invert) ? { invert } : {}) };
    return { ...old, inputs: { ...rest, ...kept, [input]: name } };
  });
}

/** A new mask node below a picture's, which gives its mask wherever the picture's own transparency was read. */
export function addMask(picture: string, name: string): Edit {
  return (workflow) => {
    const id = freshId("LoadMask", (one) => one in workflow.nodes);
    const { x, y } = workflow.layout.nodes[picture] ?? { x: 0, y: 0 };
    const node: WorkflowNode = { type: "LoadMask", version: 1, inputs: { image: name } };
    const readers = Object.keys(workflow.nodes).map((reader) => changeNode(reader, (old) => redirected(old, picture, id)));
    return chain(addNode(id, node, { x, y: y + BELOW }), ...readers)(workflow);
  };
}

function redirected(node: WorkflowNode, from: string, to: string): WorkflowNode {
  const reads = (value: unknown) => isEdge(value) && value.node === from && value.output === "mask";
  if (!Object.values(node.inputs).some(reads)) return node;
  const moved = Object.entries(node.inputs).map(([name, value]) => [name, reads(value) ? { node: to, output: "mask" } : value]);
  return { ...node, inputs: Object.fromEntries(moved) };
}
