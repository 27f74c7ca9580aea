/** Pieces of a workflow as text: a copy is a document of the same format, so it can be pasted anywhere. */

import type { Edit } from "./edit";
import { freshId, freshNumber } from "./edit";
import { GRAPH, freshGraph, graphsFor } from "./graphs";
import { NotAWorkflow, read } from "./read";
import type { Graph, Point, Workflow, WorkflowNode } from "./types";
import { emptyWorkflow, isEdge } from "./types";

export interface Selected {
  nodes: ReadonlySet<string>;
  groups: ReadonlySet<string>;
  notes: ReadonlySet<string>;
}

/** The selected part as a document; edges from outside stay in it, for those who want them. */
export function copied(workflow: Workflow, selected: Selected): Workflow {
  const { layout } = workflow;
  const of = <T,>(record: Record<string, T>) =>
    Object.fromEntries(Object.entries(record).filter(([id]) => selected.nodes.has(id)));
  const graphs = graphsFor(of(workflow.nodes), workflow.graphs);
  return {
    ...emptyWorkflow(),
    nodes: of(workflow.nodes),
    ...(graphs ? { graphs } : {}),
    layout: {
      nodes: of(layout.nodes),
      groups: layout.groups.filter(({ id }) => selected.groups.has(id)),
      notes: layout.notes.filter(({ id }) => selected.notes.has(id)),
    },
  };
}

/** The piece in a text, or null when it holds none. */
export function pieceOf(text: string): Workflow | null {
  if (!text.trimStart().startsWith("{")) return null;
  try {
    return read(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof NotAWorkflow) return null;
    throw error;
  }
}

export interface Pasted {
  edit: Edit;
  /** The new ids, as the selection names them. */
  ids: string[];
}

/** Put a piece into a document with its corner at a point. `linked`: edges from nodes that it left behind stay. */
export function paste(workflow: Workflow, pasted: Workflow, at: Point, linked: boolean): Pasted {
  const { piece, graphs } = withFreeGraphs(workflow, pasted);
  const taken = new Set(Object.keys(workflow.nodes));
  const names = new Map<string, string>();
  for (const [id, node] of Object.entries(piece.nodes)) {
    const fresh = taken.has(id) ? freshId(node.type, (name) => taken.has(name)) : id;
    names.set(id, fresh);
    taken.add(fresh);
  }
  const corner = cornerOf(piece);
  const shift = ({ x, y }: Point) => ({ x: Math.round(x - corner.x + at.x), y: Math.round(y - corner.y + at.y) });
  const number = (things: readonly { id: string }[], n: number) => String(Number(freshNumber(things)) + n);
  const groups = piece.layout.groups.map((item, n) => ({ ...item, ...shift(item), id: number(workflow.layout.groups, n) }));
  const notes = piece.layout.notes.map((item, n) => ({ ...item, ...shift(item), id: number(workflow.layout.notes, n) }));
  const nodes: Record<string, WorkflowNode> = {};
  const places: Workflow["layout"]["nodes"] = {};
  for (const [id, node] of Object.entries(piece.nodes)) {
    const name = names.get(id) as string;
    nodes[name] = renamed(node, names, (source) => linked && source in workflow.nodes);
    const place = piece.layout.nodes[id] ?? { x: 0, y: 0 };
    places[name] = { ...place, ...shift(place) };
  }
  return {
    ids: [...names.values(), ...groups.map(({ id }) => `group:${id}`), ...notes.map(({ id }) => `note:${id}`)],
    edit: ({ layout, ...rest }) => ({
      ...rest,
      ...(graphs ? { graphs: { ...rest.graphs, ...graphs } } : {}),
      nodes: { ...rest.nodes, ...nodes },
      layout: {
        ...layout,
        nodes: { ...layout.nodes, ...places },
        groups: [...layout.groups, ...groups],
        notes: [...layout.notes, ...notes],
      },
    }),
  };
}

/** A piece whose sub-workflows have free names, and those that are new. An equal one of the document is shared. */
function withFreeGraphs(workflow: Workflow, piece: Workflow): { piece: Workflow; graphs?: Workflow["graphs"] } {
  const own = Object.entries(piece.graphs ?? {});
  if (own.length === 0) return { piece };
  const text = (graph: unknown) => JSON.stringify(graph);
  const names = new Map<string, string>();
  const taken: Record<string, Graph> = { ...workflow.graphs };
  const same = own.every(([name, graph]) => !(name in taken) || text(taken[name]) === text(graph));
  for (const [name, graph] of own) {
    const free = same ? name : freshGraph(taken, name);
    names.set(GRAPH + name, GRAPH + free);
    taken[free] = graph;
  }
  const named = (nodes: Workflow["nodes"]) =>
    Object.fromEntries(Object.entries(nodes).map(([id, node]) => [id, { ...node, type: names.get(node.type) ?? node.type }]));
  const graphs = own.map(([name, graph]) => [(names.get(GRAPH + name) ?? "").slice(GRAPH.length), { ...graph, nodes: named(graph.nodes) }]);
  return { piece: { ...piece, nodes: named(piece.nodes) }, graphs: Object.fromEntries(graphs) };
}

function cornerOf({ layout }: Workflow): Point {
  const points: Point[] = [...Object.values(layout.nodes), ...layout.groups, ...layout.notes];
  if (points.length === 0) return { x: 0, y: 0 };
  return { x: Math.min(...points.map(({ x }) => x)), y: Math.min(...points.map(({ y }) => y)) };
}

/** A node whose edges follow the new names; an edge to what is not there goes, unless it may stay. */
function renamed(node: WorkflowNode, names: ReadonlyMap<string, string>, stays: (source: string) => boolean): WorkflowNode {
  const inputs: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(node.inputs)) {
    const next = Array.isArray(value) ? value.map(follow).filter((item) => item !== undefined) : follow(value);
    if (next !== undefined) inputs[name] = next;
  }
  return { ...node, inputs };

  function follow(value: unknown): unknown {
    if (!isEdge(value)) return value;
    const name = names.get(value.node);
    if (name !== undefined) return { ...value, node: name };
    return stays(value.node) ? value : undefined;
  }
}
