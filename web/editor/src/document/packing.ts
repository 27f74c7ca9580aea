/** Packs nodes into a sub-workflow, and puts the nodes of one back. Neither changes what a run computes. */

import type { Edit } from "./edit";
import { freshId, freshNumber } from "./edit";
import { GRAPH, graphOf, graphsFor } from "./graphs";
import type { Edge, Graph, NamedInput, Place, Point, Target, Workflow, WorkflowNode } from "./types";
import { edgesIn, isEdge } from "./types";

const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,89}$/;

function freeName(name: string, taken: readonly string[], fallback: string): string {
  const base = NAME.test(name) ? name : fallback;
  for (let n = 1; ; n++) {
    const found = n === 1 ? base : `${base}-${n}`;
    if (!taken.includes(found)) return found;
  }
}

interface Port {
  name: string;
  /** The named inputs of the document that lead to it. */
  named: string[];
  /** What the new node gets; undefined: the inputs inside keep their own. */
  value: unknown;
  to: Target[];
}

/** Replace nodes by one node of a new sub-workflow. Edges and named inputs from outside become its inputs, what is used outside its outputs. */
export function pack(ids: ReadonlySet<string>, graph: string, use: string): Edit {
  return (workflow) => (Object.keys(workflow.nodes).some((id) => ids.has(id)) ? packed(workflow, ids, graph, use) : workflow);
}

function packed(workflow: Workflow, ids: ReadonlySet<string>, graph: string, use: string): Workflow {
  const outputs = new Map<string, { name: string; from: Edge }>();
  const ports = new Map<string, Port>();
  const inside = Object.entries(workflow.nodes).filter(([id]) => ids.has(id));
  const rest = Object.entries(workflow.nodes).filter(([id]) => !ids.has(id));
  const outside = rest.map(([id, node]) => [id, { ...node, inputs: mapped(node.inputs, seen) }] as const);
  const named = workflow.outputs.map((item) => ({ ...item, from: seen(item.from) }));
  const nodes = Object.fromEntries(inside.map(([id, node]) => [id, { ...node, inputs: innerInputs(id, node) }]));
  const made: Graph = {
    name: "",
    inputs: [...ports.values()].map(({ name, to }) => ({ name, to })),
    outputs: [...outputs.values()],
    nodes,
    layout: { nodes: placesOf(workflow, (id) => ids.has(id)), groups: [], notes: [] },
  };
  const inputs = Object.fromEntries([...ports.values()].filter(({ value }) => value !== undefined).map(({ name, value }) => [name, value]));
  return {
    ...workflow,
    inputs: workflow.inputs.map((item) => ({ ...item, to: [...item.to.filter(({ node }) => !ids.has(node)), ...ledTo(item)] })),
    outputs: named,
    nodes: { ...Object.fromEntries(outside), [use]: { type: GRAPH + graph, version: 1, inputs } },
    layout: { ...workflow.layout, nodes: { ...placesOf(workflow, (id) => !ids.has(id)), [use]: cornerOf(made) } },
    graphs: { ...workflow.graphs, [graph]: made },
  };

  /** An edge as it looks from outside. */
  function seen(edge: Edge): Edge {
    if (!ids.has(edge.node)) return edge;
    const key = `${edge.node}.${edge.output}`;
    const taken = [...outputs.values()].map(({ name }) => name);
    const output = outputs.get(key) ?? { name: freeName(edge.output, taken, "output"), from: edge };
    outputs.set(key, output);
    return { node: use, output: output.name };
  }

  function ledTo({ name }: NamedInput): Target[] {
    return [...ports.values()].filter(({ named }) => named.includes(name)).map((port) => ({ node: use, input: port.name }));
  }

  function innerInputs(id: string, node: WorkflowNode): WorkflowNode["inputs"] {
    const found: WorkflowNode["inputs"] = {};
    for (const [input, value] of Object.entries(node.inputs)) {
      const own = innerValue({ node: id, input }, value);
      if (own !== undefined) found[input] = own;
    }
    for (const { to } of workflow.inputs)
      for (const target of to) if (target.node === id && !(target.input in node.inputs)) addPort(target, undefined);
    return found;
  }

  /** An input's value inside; undefined if it has moved to the new node. */
  function innerValue(target: Target, value: unknown): unknown {
    const edges = edgesIn(value);
    const foreign = edges.filter(({ edge }) => !ids.has(edge.node));
    const isNamed = namesOf(target).length > 0;
    if ((edges.length > 0 && foreign.length === edges.length) || (foreign.length > 0 && isNamed)) {
      addPort(target, value);
      return undefined;
    }
    if (isNamed) addPort(target, undefined);
    if (foreign.length === 0 || !Array.isArray(value)) return value;
    for (const { edge, index } of foreign) addPort({ ...target, item: index as number }, edge);
    return value.map((item) => (isEdge(item) && !ids.has(item.node) ? null : item));
  }

  function namesOf({ node, input }: Target): string[] {
    return workflow.inputs.filter(({ to }) => to.some((t) => t.node === node && t.input === input)).map(({ name }) => name);
  }

  /** Inputs with the same edge and the same named inputs share a port. */
  function addPort(target: Target, value: unknown) {
    const names = target.item === undefined ? namesOf(target) : [];
    const outer = value === undefined ? undefined : follow(value, seen);
    const key = JSON.stringify([names, outer]);
    const taken = [...ports.values()].map(({ name }) => name);
    const port = ports.get(key) ?? { name: freeName(target.input, taken, "input"), named: names, value: outer, to: [] };
    port.to.push(target);
    ports.set(key, port);
  }
}

/** Replace a node that uses a sub-workflow by the nodes inside. `ids` is filled with their new ids. */
export function unpack(id: string, ids: string[] = []): Edit {
  return (workflow) => {
    const node = workflow.nodes[id];
    const graph = node && graphOf(workflow, node.type);
    return node && graph ? unpacked(workflow, id, node, graph, ids) : workflow;
  };
}

function unpacked(workflow: Workflow, use: string, node: WorkflowNode, graph: Graph, ids: string[]): Workflow {
  const names = new Map<string, string>();
  const taken = (id: string) => (id in workflow.nodes && id !== use) || [...names.values()].includes(id);
  for (const inner of Object.keys(graph.nodes)) names.set(inner, taken(inner) ? freshId(`${use}-${inner}`, taken) : inner);
  ids.push(...names.values());
  const fresh = (edge: Edge): Edge => ({ ...edge, node: names.get(edge.node) ?? edge.node });
  const sources = new Map(graph.outputs.map(({ name, from }) => [name, fresh(from)]));
  const outer = (edge: Edge): Edge => (edge.node === use ? (sources.get(edge.output) ?? edge) : edge);
  const inner = Object.entries(graph.nodes).map(([id, item]) => {
    const mode = node.mode ? { mode: node.mode } : {};
    return [names.get(id) as string, { ...item, ...mode, inputs: mapped(item.inputs, fresh) }] as const;
  });
  const nodes: Workflow["nodes"] = Object.fromEntries(inner);
  for (const port of graph.inputs)
    if (port.name in node.inputs)
      for (const target of port.to) place(nodes, { ...target, node: names.get(target.node) ?? "" }, follow(node.inputs[port.name], outer));
  const rest = Object.entries(workflow.nodes).filter(([id]) => id !== use);
  const all = { ...Object.fromEntries(rest.map(([id, item]) => [id, { ...item, inputs: mapped(item.inputs, outer) }])), ...nodes };
  const { graphs: _, ...document } = workflow;
  const others = Object.fromEntries(Object.entries(workflow.graphs ?? {}).filter(([name]) => GRAPH + name !== node.type));
  const used = { ...others, ...graphsFor(all, workflow.graphs), ...usedBy(others, workflow.graphs) };
  return {
    ...document,
    ...(Object.keys(used).length ? { graphs: used } : {}),
    inputs: workflow.inputs.map((item) => ({ ...item, to: item.to.flatMap((target) => led(target)) })).filter(({ to }) => to.length),
    outputs: workflow.outputs.map((item) => ({ ...item, from: outer(item.from) })),
    nodes: all,
    layout: laidOut(),
  };

  function led(target: Target): Target[] {
    if (target.node !== use) return [target];
    const port = graph.inputs.find(({ name }) => name === target.input);
    return (port?.to ?? []).filter(({ item }) => item === undefined).map((to) => ({ ...to, node: names.get(to.node) ?? to.node }));
  }

  function laidOut(): Workflow["layout"] {
    const { layout } = workflow;
    const corner = cornerOf(graph);
    const at = layout.nodes[use] ?? corner;
    const shift = <T extends Point>(item: T): T => ({ ...item, x: item.x - corner.x + at.x, y: item.y - corner.y + at.y });
    const number = (things: readonly { id: string }[], n: number) => String(Number(freshNumber(things)) + n);
    const { [use]: _, ...places } = layout.nodes;
    for (const [id, place] of Object.entries(graph.layout.nodes)) places[names.get(id) ?? id] = shift(place);
    return {
      ...layout,
      nodes: places,
      groups: [...layout.groups, ...graph.layout.groups.map((item, n) => ({ ...shift(item), id: number(layout.groups, n) }))],
      notes: [...layout.notes, ...graph.layout.notes.map((item, n) => ({ ...shift(item), id: number(layout.notes, n) }))],
    };
  }
}

/** The sub-workflows that others need. */
function usedBy(graphs: Record<string, Graph>, all: Workflow["graphs"]): Record<string, Graph> {
  return Object.assign({}, ...Object.values(graphs).map(({ nodes }) => graphsFor(nodes, all) ?? {}));
}

function place(nodes: Workflow["nodes"], { node, input, item }: Target, value: unknown) {
  const old = nodes[node];
  if (!old) return;
  const list = old.inputs[input];
  const next = item === undefined ? value : Array.isArray(list) ? list.map((own, n) => (n === item ? value : own)) : list;
  nodes[node] = { ...old, inputs: { ...old.inputs, [input]: next } };
}

const follow = (value: unknown, change: (edge: Edge) => Edge): unknown =>
  Array.isArray(value) ? value.map((item) => (isEdge(item) ? change(item) : item)) : isEdge(value) ? change(value) : value;

const mapped = (inputs: WorkflowNode["inputs"], change: (edge: Edge) => Edge) =>
  Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, follow(value, change)]));

const placesOf = ({ layout }: Workflow, wanted: (id: string) => boolean): Record<string, Place> =>
  Object.fromEntries(Object.entries(layout.nodes).filter(([id]) => wanted(id)));

function cornerOf({ layout }: Graph): Point {
  const places = Object.values(layout.nodes);
  if (places.length === 0) return { x: 0, y: 0 };
  return { x: Math.min(...places.map(({ x }) => x)), y: Math.min(...places.map(({ y }) => y)) };
}
