/** How many tokens a prompt has, and whose CLIP reads it. Pure. */

import type { NodeSpec } from "../api/client";
import type { Workflow } from "../document/types";
import { isEdge } from "../document/types";

/** The model file whose CLIP reads a node's prompt. */
export interface Reader {
  source: string;
  name: string;
}

/** How a prompt is read. */
export interface Tokens {
  length: number;
  parts: { start: number; end: number; turn: number; period: number; count: number; tokens: { text: string; known: boolean }[] }[];
}

/** What is shown of it. */
export interface Count {
  used: number;
  room: number;
  parts: number;
  unknown: string[];
}

const ENDS = 2; // start and end, which every part holds
const SOURCES = ["models/checkpoints", "models/clip"];

/** Follow the CLIP of a node, through nodes that pass one on, to the file that it is loaded from. */
export function readerOf(nodes: Workflow["nodes"], specs: ReadonlyMap<string, NodeSpec>, id: string): Reader | null {
  const seen = new Set<string>();
  for (let at: string | undefined = id; at !== undefined && !seen.has(at); ) {
    seen.add(at);
    const node: Workflow["nodes"][string] | undefined = nodes[at];
    const inputs: NodeSpec["inputs"] = (node && specs.get(node.type)?.inputs) || [];
    const file = inputs.find(({ source }) => source !== null && SOURCES.includes(source));
    const name = file && node?.inputs[file.name];
    if (file && typeof name === "string") return { source: file.source as string, name };
    const clip = inputs.find(({ kind }) => kind === "CLIP");
    const edge: unknown = clip && node?.inputs[clip.name];
    at = isEdge(edge) ? edge.node : undefined;
  }
  return null;
}

/** The tokens of the first of a prompt's variants, without the ends of its parts. */
export function countOf({ length, parts }: Tokens): Count | null {
  const [first] = parts;
  if (first === undefined) return null;
  const same = parts.filter((part) => (["start", "end", "turn", "period"] as const).every((key) => part[key] === first[key]));
  const unknown = parts.flatMap(({ tokens }) => tokens.filter(({ known }) => !known).map(({ text }) => text.trim()));
  return {
    used: same.reduce((sum, { count }) => sum + count - ENDS, 0),
    room: same.length * (length - ENDS),
    parts: same.length,
    unknown: [...new Set(unknown)],
  };
}
