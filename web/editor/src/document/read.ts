import { strings } from "../strings";
import type { Graph, Group, Layout, NamedInput, NamedOutput, Note, Place, Target, Workflow, WorkflowNode } from "./types";
import { edgesIn, isEdge, isObject } from "./types";

/** What was read is no document; `place` is the part that is wrong, if it is one in other respects. */
export class NotAWorkflow extends Error {
  constructor(place = "") {
    super(strings().canvas.notAWorkflow(place));
  }
}

/** A document from JSON, forgiving about its layout and about what is left out; strict about what it is. */
export function read(data: unknown): Workflow {
  if (!isObject(data) || data.format !== "latentloom/1" || !isObject(data.nodes ?? {}))
    throw new NotAWorkflow();
  const workflow: Workflow = { format: "latentloom/1", ...readGraph(data) };
  if (!isObject(data.graphs)) return workflow;
  const graphs = Object.entries(data.graphs).map(([name, graph]) => [name, readGraph(isObject(graph) ? graph : {})]);
  return { ...workflow, graphs: Object.fromEntries(graphs) };
}

function readGraph(data: Record<string, unknown>): Graph {
  const nodes = Object.fromEntries(Object.entries((data.nodes ?? {}) as object).map(([id, node]) => [id, readNode(id, node)]));
  const graph: Graph = {
    name: typeof data.name === "string" ? data.name : "",
    inputs: named("inputs", data.inputs, isNamedInput),
    outputs: named("outputs", data.outputs, isNamedOutput),
    nodes,
    layout: placed(readLayout(data.layout), nodes),
  };
  return "extra" in data ? { ...graph, extra: data.extra } : graph;
}

/** A list of what has a name; one that is left out is empty. Raises NotAWorkflow. */
function named<T>(place: string, data: unknown, fits: (item: unknown) => item is T): T[] {
  const items = data ?? [];
  if (!Array.isArray(items)) throw new NotAWorkflow(place);
  const odd = items.findIndex((item) => !fits(item));
  if (odd >= 0) throw new NotAWorkflow(`${place}[${odd}]`);
  return items as T[];
}

const isTarget = (data: unknown): data is Target =>
  isObject(data) && typeof data.node === "string" && typeof data.input === "string" && ["number", "undefined"].includes(typeof data.item);

const isNamedInput = (data: unknown): data is NamedInput =>
  isObject(data) && typeof data.name === "string" && Array.isArray(data.to) && data.to.every(isTarget);

const isNamedOutput = (data: unknown): data is NamedOutput => isObject(data) && typeof data.name === "string" && isEdge(data.from);

/** What the optional parts of a node are; null is the same as left out. */
const PARTS: Record<string, (value: unknown) => boolean> = {
  title: (value) => typeof value === "string",
  mode: (value) => value === "active" || value === "bypass" || value === "mute",
  each: (value) => Array.isArray(value) && value.every((name) => typeof name === "string"),
  on_error: (value) => value === "stop" || value === "keep",
};

function readNode(id: string, data: unknown): WorkflowNode {
  const node = { ...(isObject(data) ? data : {}) };
  for (const [name, fits] of Object.entries(PARTS)) {
    if (node[name] === null) delete node[name];
    if (name in node && !fits(node[name])) throw new NotAWorkflow(`nodes.${id}.${name}`);
  }
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
    groups: items(layout.groups).map((item, n) => ({ ...item, title: text(item.title), id: String(item.id ?? n + 1) }) as Group),
    notes: items(layout.notes).map((item, n) => ({ ...item, text: text(item.text), id: String(item.id ?? n + 1) }) as Note),
  };
}

const text = (value: unknown) => (typeof value === "string" ? value : "");

function items(list: unknown): Record<string, unknown>[] {
  const defaults = { width: 240, height: 140 };
  const sized = (item: object) => ({ ...item, ...Object.fromEntries(Object.entries(defaults).map(([name, size]) => [name, sizeOf(item, name) ?? size])) });
  return Array.isArray(list) ? list.filter(isPlace).map(sized) : [];
}

function sizeOf(item: object, name: string): number | null {
  const size = (item as Record<string, unknown>)[name];
  return typeof size === "number" && Number.isFinite(size) ? size : null;
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
