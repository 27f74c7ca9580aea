/** Which outputs fit which inputs: the same rule as the engine's `validate.accepts`. */

import type { InputPort, OutputPort } from "../api/client";

const ANY = "ANY";
const CONVERTIBLE: readonly (readonly [string, string])[] = [
  ["INT", "FLOAT"],
  ["STRING", "CHOICE"],
  ["CHOICE", "STRING"],
];

export function kindFits(output: string, input: string): boolean {
  if (output === input || output === ANY || input === ANY) return true;
  return CONVERTIBLE.some(([from, to]) => from === output && to === input);
}

/** Whether a list can go item by item into an input for single values. */
export const goesByItem = (output: OutputPort, input: InputPort) =>
  output.is_list && !input.is_list && kindFits(output.kind, input.kind);

/** How an output fits an input: as the whole value, as one item of its list, or not at all. */
export function fits(output: OutputPort, input: InputPort): "whole" | "item" | null {
  if (!kindFits(output.kind, input.kind)) return null;
  if (output.is_list === input.is_list) return "whole";
  return input.is_list ? "item" : null;
}
