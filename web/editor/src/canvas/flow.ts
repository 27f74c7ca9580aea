/** What React Flow is given, derived from the document; objects stay the same while what they show does. */

import type { Edge as RfEdge, Node as RfNode } from "@xyflow/react";
import type { Inlet } from "../document/edit";
import type { Workflow } from "../document/types";
import { edgesIn } from "../document/types";

export type FlowKind = "node" | "group" | "note";
/** React Flow draws a frame of its own around what is of the type `group`. */
export type FlowNode = RfNode<Record<string, never>, "node" | "frame" | "note">;
export type FlowEdge = RfEdge<{ kind: string }, "loom">;

export const groupId = (id: string) => `group:${id}`;
export const noteId = (id: string) => `note:${id}`;

/** The kind of a flow id, and the id in the document. */
export function partsOf(flowId: string): { kind: FlowKind | "edge"; id: string } {
  const [kind, id] = flowId.split(":", 2) as [string, string | undefined];
  return id === undefined ? { kind: "node", id: kind } : { kind: kind as FlowKind | "edge", id };
}

// Handles: an output's name; an input's name; `name[2]` for an item of a list, `name[+]` for one more

export const handleOf = (input: string, index: number | null) => (index === null ? input : `${input}[${index}]`);
export const moreHandle = (input: string) => `${input}[+]`;

export function inletOf(node: string, handle: string): Inlet & { list: boolean } {
  const found = /^(.+)\[(\d+|\+)\]$/.exec(handle);
  if (!found) return { node, input: handle, index: null, list: false };
  return { node, input: found[1] as string, index: found[2] === "+" ? null : Number(found[2]), list: true };
}

export const edgeId = (inlet: Inlet) => `edge:${inlet.node}/${handleOf(inlet.input, inlet.index)}`;

export function inletOfEdge(id: string): Inlet {
  const [node, handle] = partsOf(id).id.split("/", 2) as [string, string];
  return inletOf(node, handle);
}

export function deriveNodes(workflow: Workflow, selection: ReadonlySet<string>, previous: readonly FlowNode[]): FlowNode[] {
  const old = new Map(previous.map((node) => [node.id, node]));
  const { nodes, groups, notes } = workflow.layout;
  const made: FlowNode[] = [];
  for (const { id, x, y, width, height } of groups)
    made.push({ id: groupId(id), type: "frame", position: { x, y }, width, height, zIndex: -1, data: {} });
  for (const id of Object.keys(workflow.nodes)) {
    const { x, y, width, collapsed } = nodes[id] ?? { x: 0, y: 0 };
    made.push({ id, type: "node", position: { x, y }, width: collapsed ? undefined : width, data: {} });
  }
  for (const { id, x, y, width, height } of notes)
    made.push({ id: noteId(id), type: "note", position: { x, y }, width, height, data: {} });
  return made.map((node) => reused(node, old.get(node.id), selection.has(node.id)));
}

function reused(node: FlowNode, old: FlowNode | undefined, selected: boolean): FlowNode {
  if (old === undefined) return { ...node, selected };
  const same =
    old.position.x === node.position.x &&
    old.position.y === node.position.y &&
    old.width === node.width &&
    old.height === node.height &&
    Boolean(old.selected) === selected;
  return same ? old : { ...node, selected, measured: old.measured };
}

export function deriveEdges(
  workflow: Workflow,
  selection: ReadonlySet<string>,
  previous: readonly FlowEdge[],
  kindOf: (node: string, output: string) => string,
): FlowEdge[] {
  const old = new Map(previous.map((edge) => [edge.id, edge]));
  const made: FlowEdge[] = [];
  for (const [node, { inputs }] of Object.entries(workflow.nodes))
    for (const [input, value] of Object.entries(inputs))
      for (const { edge, index } of edgesIn(value)) {
        if (!(edge.node in workflow.nodes)) continue;
        const id = edgeId({ node, input, index });
        const kind = kindOf(edge.node, edge.output);
        const before = old.get(id);
        const selected = selection.has(id);
        const same =
          before?.source === edge.node &&
          before.sourceHandle === edge.output &&
          before.data?.kind === kind &&
          Boolean(before.selected) === selected;
        made.push(
          same && before
            ? before
            : {
                id,
                type: "loom",
                source: edge.node,
                sourceHandle: edge.output,
                target: node,
                targetHandle: handleOf(input, index),
                ariaLabel: `${edge.node}.${edge.output} → ${node}.${handleOf(input, index)}`,
                selected,
                data: { kind },
              },
        );
      }
  return made;
}
