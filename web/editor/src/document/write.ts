import type { Workflow } from "./types";

/** The document as text with sorted keys, as the engine writes it. */
export function write(workflow: Workflow): string {
  return `${JSON.stringify(sorted(workflow), null, 2)}\n`;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, sorted(item)]));
}
