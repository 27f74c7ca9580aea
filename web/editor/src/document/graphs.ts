/** Sub-workflows: `graphs` of a document, and the node types `graph/NAME` that use them, with ports taken from what they lead to. */

import type { InputPort, NodeSpec, OutputPort } from "../api/client";
import { repeated } from "./repeat";
import type { Edge, Graph, Target, Workflow, WorkflowNode } from "./types";
import { edgesIn } from "./types";

export const GRAPH = "graph/";
const ANY = "ANY";

export type Specs = ReadonlyMap<string, NodeSpec>;

/** The sub-workflow that a node of this type uses; undefined for any other type and for one that is gone. */
export function graphOf(workflow: Workflow, type: string): Graph | undefined {
  return type.startsWith(GRAPH) ? workflow.graphs?.[type.slice(GRAPH.length)] : undefined;
}

/** The installed node types with those of a document's sub-workflows. */
export function withGraphs(specs: Specs, graphs: Workflow["graphs"]): Specs {
  const names = Object.keys(graphs ?? {});
  if (!graphs || names.length === 0) return specs;
  const found = new Map(specs);
  const open = new Set<string>();
  const typeOf = (type: string): NodeSpec | undefined => {
    const name = type.slice(GRAPH.length);
    const graph = type.startsWith(GRAPH) ? graphs[name] : undefined;
    if (!graph || found.has(type)) return found.get(type);
    if (open.has(name)) return undefined; // it uses itself
    open.add(name);
    const made = specFor(type, graph, (node) => (typeOf(node.type), specOf(found, node)));
    open.delete(name);
    found.set(type, made);
    return made;
  };
  for (const name of names) typeOf(GRAPH + name);
  return found;
}

type SpecOf = (node: WorkflowNode) => NodeSpec | undefined;

function specFor(type: string, graph: Graph, specOf: SpecOf): NodeSpec {
  return {
    type,
    version: 1,
    category: "graph",
    display_name: graph.name,
    aliases: [],
    deprecated: "",
    help: graph.name,
    purity: "pure",
    device: false,
    asynchronous: false,
    inputs: graph.inputs.map(({ name, to }) => inputFor(name, to, graph, specOf)),
    outputs: graph.outputs.map(({ name, from }) => outputFor(name, from, graph, specOf)),
    distribution: "",
  };
}

function inputFor(name: string, to: Target[], graph: Graph, specOf: SpecOf): InputPort {
  const found = to.flatMap((target) => {
    const node = graph.nodes[target.node];
    const port = node && specOf(node)?.inputs.find(({ name }) => name === target.input);
    return port ? [{ target, port }] : [];
  });
  const first = found[0];
  if (!first) return { ...UNKNOWN, name };
  const own = valueAt(graph, first.target);
  const required = found.some(({ target, port }) => port.required && valueAt(graph, target) == null);
  const value = own == null || edgesIn(own).length ? first.port.default : own;
  const is_list = first.port.is_list && first.target.item === undefined;
  return { ...first.port, name, is_list, required, default: (required ? null : value) as InputPort["default"], lazy: false, advanced: false };
}

function outputFor(name: string, { node, output }: Edge, graph: Graph, specOf: SpecOf): OutputPort {
  const source = graph.nodes[node];
  const port = source && specOf(source)?.outputs.find((port) => port.name === output);
  return { ...(port ?? { kind: ANY, is_list: false }), name };
}

function valueAt(graph: Graph, { node, input, item }: Target): unknown {
  const value = graph.nodes[node]?.inputs[input];
  if (item === undefined) return value;
  return Array.isArray(value) ? value[item] : undefined;
}

const UNKNOWN: InputPort = {
  name: "", kind: ANY, required: false, default: null, optional: false, is_list: false, lazy: false, minimum: null,
  maximum: null, multiple_of: null, min_length: null, max_length: null, choices: [], source: null, mentions: null,
  widget: null, advanced: false, help: "",
};

const changed = new WeakMap<WorkflowNode, { spec: NodeSpec; made: NodeSpec }>();

/** The ports of a node: those of its type, as `repeat` and `each` change them. */
export function specOf(specs: Specs, node: WorkflowNode | undefined): NodeSpec | undefined {
  const spec = specs.get(node?.type ?? "");
  if (!spec || !(node?.each?.length || node?.repeat)) return spec;
  const known = changed.get(node);
  if (known?.spec === spec) return known.made;
  const made = mapped(node.repeat ? repeated(spec, node.repeat, UNKNOWN) : spec, node.each ?? []);
  changed.set(node, { spec, made });
  return made;
}

/** The ports of a node that runs once for each item: the inputs that go item by item and all outputs are lists. */
function mapped(spec: NodeSpec, each: string[]): NodeSpec {
  if (each.length === 0) return spec;
  const inputs = spec.inputs.map((port) => (each.includes(port.name) ? { ...port, is_list: true } : port));
  return { ...spec, inputs, outputs: spec.outputs.map((port) => ({ ...port, is_list: true })) };
}

/** A free name for a sub-workflow. */
export function freshGraph(graphs: Workflow["graphs"], base = "block"): string {
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${n}`;
    if (!(name in (graphs ?? {}))) return name;
  }
}

/** The sub-workflows that some nodes need, directly or through others. */
export function graphsFor(nodes: Workflow["nodes"], graphs: Workflow["graphs"]): Workflow["graphs"] {
  const found: Record<string, Graph> = {};
  const open = [nodes];
  for (let next = open.pop(); next; next = open.pop())
    for (const { type } of Object.values(next)) {
      const name = type.slice(GRAPH.length);
      const graph = type.startsWith(GRAPH) ? graphs?.[name] : undefined;
      if (graph && !(name in found)) open.push((found[name] = graph).nodes);
    }
  return Object.keys(found).length ? found : undefined;
}
