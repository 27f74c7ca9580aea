/** What a node depends on. */

import { GRAPH } from "./graphs";
import type { Workflow } from "./types";
import { edgesIn } from "./types";

/** Whether a node and all that it needs are as they were in another state of the document; edits make new objects of what they change. */
export function isAsBefore(before: Workflow, now: Workflow, id: string): boolean {
  const seen = new Set<string>();
  const open = [id];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    const node = now.nodes[next];
    if (node !== before.nodes[next]) return false;
    if (node?.type.startsWith(GRAPH) && now.graphs !== before.graphs) return false;
    for (const value of Object.values(node?.inputs ?? {})) for (const { edge } of edgesIn(value)) open.push(edge.node);
  }
  return true;
}
