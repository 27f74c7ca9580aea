/** The levels of a document: its own nodes, and the insides of the sub-workflows that nodes of it use. A path names a level by the ids of these nodes. */

import type { Edit } from "./edit";
import { GRAPH, graphOf, graphsFor } from "./graphs";
import type { Workflow } from "./types";

export type Path = readonly string[];

/** The names of the sub-workflows along a path, as far as its nodes are there and use one. */
export function graphsAlong(workflow: Workflow, path: Path): string[] {
  const names: string[] = [];
  let { nodes } = workflow;
  for (const id of path) {
    const type = nodes[id]?.type ?? "";
    const graph = graphOf(workflow, type);
    if (!graph) break;
    names.push(type.slice(GRAPH.length));
    nodes = graph.nodes;
  }
  return names;
}

const views = new WeakMap<Workflow, Map<string, Workflow>>();

/** A level as a document, with the sub-workflows of the whole one; the same object each time for one state of the document. */
export function levelAt(workflow: Workflow, path: Path): Workflow {
  const name = graphsAlong(workflow, path).at(-1);
  const graph = name === undefined ? undefined : workflow.graphs?.[name];
  if (name === undefined || !graph) return workflow;
  const known = views.get(workflow) ?? new Map<string, Workflow>();
  views.set(workflow, known);
  const view = known.get(name) ?? { format: workflow.format, ...graph, graphs: workflow.graphs };
  known.set(name, view);
  return view;
}

/** An edit of the level that a path names. Inside a sub-workflow it changes `graphs`, and so every use. */
export function atLevel(path: Path, edit: Edit): Edit {
  return (workflow) => {
    const name = graphsAlong(workflow, path).at(-1);
    if (name === undefined) return edit(workflow);
    const before = levelAt(workflow, path);
    const after = edit(before);
    if (after === before) return workflow;
    const { format: _, graphs, ...graph } = after;
    const changed = { ...graphs, [name]: graph };
    // An edit sees only its own level; what the other levels use stays
    const others = [workflow.nodes, ...Object.values(changed).map(({ nodes }) => nodes)];
    const used = others.map((nodes) => graphsFor(nodes, { ...workflow.graphs, ...changed }) ?? {});
    return { ...workflow, graphs: Object.assign({}, changed, ...used, changed) };
  };
}

/** How many nodes of the document, on all levels, use a sub-workflow. */
export function usesOf({ nodes, graphs }: Workflow, name: string): number {
  const all = [nodes, ...Object.values(graphs ?? {}).map((graph) => graph.nodes)];
  return all.flatMap((some) => Object.values(some)).filter(({ type }) => type === GRAPH + name).length;
}

/** Whether a node of a type, put inside a sub-workflow, would make that use itself. */
export function wouldRecur(graphs: Workflow["graphs"], type: string, name: string): boolean {
  const needed = graphsFor({ node: { type, version: 1, inputs: {} } }, graphs);
  return needed !== undefined && name in needed;
}
