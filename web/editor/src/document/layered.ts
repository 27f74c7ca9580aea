/** Automatic layout, from left to right; a chunk of its own, loaded when it is first asked for. */

import { Graph, layout } from "@dagrejs/dagre";
import type { Boxes } from "./arrange";
import type { Point, Workflow } from "./types";
import { edgesIn } from "./types";

/** Places for the nodes that have a box, with the corner of the whole where it was. */
export function layered(workflow: Workflow, boxes: Boxes): Map<string, Point> {
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 32, ranksep: 72 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const [id, { width, height }] of boxes) graph.setNode(id, { width, height });
  for (const id of boxes.keys())
    for (const value of Object.values(workflow.nodes[id]?.inputs ?? {}))
      for (const { edge } of edgesIn(value)) if (boxes.has(edge.node)) graph.setEdge(edge.node, id);
  layout(graph);
  const left = Math.min(...[...boxes.values()].map((box) => box.x));
  const top = Math.min(...[...boxes.values()].map((box) => box.y));
  return new Map(
    [...boxes].map(([id, { width, height }]) => {
      const { x, y } = graph.node(id) as Point;
      return [id, { x: Math.round(left + x - width / 2), y: Math.round(top + y - height / 2) }];
    }),
  );
}
