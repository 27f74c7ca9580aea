import type { Workflow } from "./types";
import { write } from "./write";

/** Ids of nodes, and whether anything else than nodes differs. */
export interface Differences {
  added: string[];
  removed: string[];
  changed: string[];
  rest: boolean;
}

/** What became of a document; where nodes stand does not count. */
export function differences(before: Workflow, after: Workflow): Differences {
  const in_ = (workflow: Workflow) => Object.keys(workflow.nodes);
  const text = (workflow: Workflow, id: string) => JSON.stringify(ordered(workflow.nodes[id]));
  return {
    added: in_(after).filter((id) => !(id in before.nodes)),
    removed: in_(before).filter((id) => !(id in after.nodes)),
    changed: in_(after).filter((id) => id in before.nodes && text(before, id) !== text(after, id)),
    rest: interfaceOf(before) !== interfaceOf(after),
  };
}

const interfaceOf = ({ name, inputs, outputs }: Workflow) => JSON.stringify(ordered({ name, inputs, outputs }));

/** The same with sorted keys, so that equal data has equal text. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, ordered(item)]));
}

/** Whether two documents say the same, wherever they come from. */
export const same = (a: Workflow, b: Workflow) => a === b || write(a) === write(b);
