import type { Graph, Group, Layout, Note, Place, Workflow, WorkflowNode } from "./types";
import { edgesIn, isObject } from "./types";

export class NotAWorkflow extends Error {}

/** A document from JSON, forgiving about its layout and about what is left out; strict about what it is. */
export function read(data: unknown): Workflow {
  if (!isObject(data) || data.format !== "latentloom/1" || !isObject(data.nodes ?? {}))
    throw new NotAWorkflow("this is no document in the format latentloom/1");
  const workflow: Workflow = { format: "latentloom/1", ...readGraph(data) };
  if (!isObject(data.graphs)) return workflow;
  const graphs = Object.entries(data.graphs).map(([name, graph]) => [name, readGraph(isObject(graph) ? graph : {})]);
  return { ...workflow, graphs: Object.fromEntries(graphs) };
}

function readGraph(data: Record<string, unknown>): Graph {
  const nodes = Object.fromEntries(Object.entries((data.nodes ?? {}) as object).map(([id, node]) => [id, readNode(node)]));
  const graph: Graph = {
    name: typeof data.name === "string" ? data.name : "",
    inputs: Array.isArray(data.inputs) ? data.inputs : [],
    outputs: Array.isArray(data.outputs) ? data.outputs : [],
    nodes,
    layout: placed(readLayout(data.layout), nodes),
  };
  return "extra" in data ? { ...graph, extra: data.extra } : graph;
}

function readNode(data: unknown): WorkflowNode {
  const node = isObject(data) ? data : {};
  return {
    ...node,
    type: String(node.type ?? ""),
    version: typeof node.version === "number" ? node.version : 1,
    inputs: isObject(node.inputs) ? node.inputs : {},
  };
}

function readLayout(data: unknown): Layout {
  const layout = isObject(data) ? data : {};
  const nodes = isObject(layout.nodes) ? layout.nodes : {};
  return {
    ...layout,
    nodes: Object.fromEntries(Object.entries(nodes).filter(([, place]) => isPlace(place))) as Record<string, Place>,
    groups: items(layout.groups).map((item, n) => ({ title: "", ...item, id: String(item.id ?? n + 1) }) as Group),
    notes: items(layout.notes).map((item, n) => ({ text: "", ...item, id: String(item.id ?? n + 1) }) as Note),
  };
}

function items(list: unknown): Record<string, unknown>[] {
  const defaults = { width: 240, height: 140 };
  return Array.isArray(list) ? list.filter(isPlace).map((item) => ({ ...defaults, ...(item as object) })) : [];
}

function isPlace(data: unknown): boolean {
  return isObject(data) && Number.isFinite(data.x) && Number.isFinite(data.y);
}

const COLUMN = 340;
const ROW = 260;

/** The layout with a place for every node and for none that is gone; new ones stand in columns by their depth. */
function placed(layout: Layout, nodes: Record<string, WorkflowNode>): Layout {
  const known = Object.fromEntries(Object.entries(layout.nodes).filter(([id]) => id in nodes));
  const missing = Object.keys(nodes).filter((id) => !(id in known));
  if (missing.length === 0) return { ...layout, nodes: known };
  const below = Math.max(0, ...Object.values(known).map((place) => place.y + 2 * ROW));
  const depths = depthsOf(nodes);
  const rows = new Map<number, number>();
  for (const id of missing) {
    const column = depths.get(id) ?? 0;
    const row = rows.get(column) ?? 0;
    rows.set(column, row + 1);
    known[id] = { x: column * COLUMN, y: (Object.keys(layout.nodes).length ? below : 0) + row * ROW };
  }
  return { ...layout, nodes: known };
}

/** How many edges lead to each node at most; nodes in a cycle count as they are met. */
export function depthsOf(nodes: Record<string, WorkflowNode>): Map<string, number> {
  const depths = new Map<string, number>();
  const open = new Set<string>();
  const visit = (id: string): number => {
    const known = depths.get(id);
    if (known !== undefined || open.has(id)) return known ?? 0;
    open.add(id);
    const sources = Object.values(nodes[id]?.inputs ?? {}).flatMap((value) => edgesIn(value).map(({ edge }) => edge.node));
    const depth = Math.max(0, ...sources.filter((source) => source in nodes).map((source) => visit(source) + 1));
    depths.set(id, depth);
    return depth;
  };
  for (const id of Object.keys(nodes)) visit(id);
  return depths;
}
