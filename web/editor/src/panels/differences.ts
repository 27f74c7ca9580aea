import type { Schemas } from "../api/client";
import type { Strings } from "../strings";

type Change = Schemas["Change"];

const MOST = 20;

/** What distinguishes two documents, in lines to read; of many, the first and how many more. */
export function linesOf(found: Schemas["Difference"], words: Strings["panels"]["library"]["differences"]): string[] {
  const ids = (nodes: readonly { node: string }[]) => nodes.map(({ node }) => node).join(", ");
  const lines = [
    found.added.length > 0 && words.added(ids(found.added)),
    found.removed.length > 0 && words.removed(ids(found.removed)),
    ...found.changed.flatMap(({ node, inputs, properties }) =>
      [...inputs, ...properties].map((change) => `${node}.${changeText(change)}`),
    ),
    ...found.inputs.map((change) => words.input(changeText(change))),
    ...found.outputs.map((change) => words.output(changeText(change))),
    ...found.renamed.map(({ before, after }) => words.renamed(before, after)),
    found.name && changeText(found.name),
    found.layout && words.layout,
  ].filter((line): line is string => typeof line === "string");
  return lines.length > MOST ? [...lines.slice(0, MOST), words.more(lines.length - MOST)] : lines;
}

const changeText = ({ name, before, after }: Change) => `${name}: ${valueText(before)} → ${valueText(after)}`;

/** A value as text; an edge or a target as `node.port`. */
function valueText(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  if (typeof value !== "object") return String(value);
  const { node, output, input } = value as Record<string, unknown>;
  return typeof node === "string" ? `${node}.${String(output ?? input)}` : JSON.stringify(value);
}
