/** Copies of saved workflows as sub-workflows, which know what they are copies of. */

import type { NodeSpec } from "../api/client";
import { paste } from "./clip";
import type { Edit } from "./edit";
import { freshId, removeNodes } from "./edit";
import type { Specs } from "./graphs";
import { GRAPH, freshGraph, graphsFor, withGraphs } from "./graphs";
import type { Graph, Workflow } from "./types";
import { emptyWorkflow } from "./types";

/** Prefix of the types under which the search for node types offers blocks. */
export const BLOCK = "block/";

/** A saved workflow and its version. */
export interface Origin {
  name: string;
  version: number;
}

/** What a sub-workflow is a copy of; undefined if it was made in its document. */
export function originOf({ extra }: Graph): Origin | undefined {
  const { name, version } = ((extra as Record<string, unknown> | undefined)?.origin ?? {}) as Partial<Origin>;
  return typeof name === "string" && typeof version === "number" ? { name, version } : undefined;
}

/** A document with one node that uses a copy of a saved workflow, to be pasted into others. */
export function blockOf(saved: Workflow, origin: Origin): Workflow {
  const { format: _, graphs, ...graph } = saved;
  const name = freshGraph(graphs, graphName(origin.name));
  const copy: Graph = { ...graph, name: origin.name, extra: { ...(graph.extra as object | undefined), origin } };
  const id = freshId(name, () => false);
  return {
    ...emptyWorkflow(),
    nodes: { [id]: { type: GRAPH + name, version: 1, inputs: {} } },
    graphs: { ...graphs, [name]: copy },
    layout: { nodes: { [id]: { x: 0, y: 0 } }, groups: [], notes: [] },
  };
}

/** The ports of a block's node, as the node type `block/NAME`. `words`: its name and what it is for. */
export function blockSpec(specs: Specs, name: string, piece: Workflow, words: readonly [string, string]): NodeSpec[] {
  const all = withGraphs(specs, piece.graphs);
  return Object.values(piece.nodes).flatMap(({ type }) => {
    const spec = all.get(type);
    return spec ? [{ ...spec, type: BLOCK + name, category: "blocks", display_name: words[0], help: words[1] }] : [];
  });
}

/** Put another version of a saved workflow in the place of a copy. Every use gets it, and keeps its inputs and edges. */
export function renew(name: string, saved: Workflow, origin: Origin): Edit {
  return (workflow) => {
    const { edit, ids } = paste(workflow, blockOf(saved, origin), { x: 0, y: 0 }, false);
    const pasted = edit(workflow);
    const made = pasted.graphs?.[pasted.nodes[ids[0] ?? ""]?.type.slice(GRAPH.length) ?? ""];
    if (!made) return workflow;
    const { nodes, ...rest } = removeNodes(new Set(ids))(pasted);
    return { ...rest, nodes, graphs: graphsFor(nodes, { ...pasted.graphs, [name]: made }) };
  };
}

const graphName = (name: string) => name.replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^[^A-Za-z]+|-+$/g, "").slice(0, 60) || "block";
