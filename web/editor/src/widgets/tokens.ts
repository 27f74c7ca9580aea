import { useEffect, useState } from "react";
import { create } from "zustand";
import type { Workflow } from "../document/types";
import type { NodeSpec } from "../api/client";
import { send, ServerError } from "../api/client";
import { isEdge } from "../document/types";
import { useCatalog } from "../store/catalog";
import { useDocument } from "../store/document";

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
const DELAY_MS = 400;
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

/** Whether the server counts tokens; one that does not know the question is not asked again. */
const useCounting = create<{ offered: boolean }>()(() => ({ offered: true }));

/** How many tokens a node's prompt has; null where nobody can tell. */
export function useTokens(node: string | undefined, text: string): Count | null {
  const specs = useCatalog((state) => state.specs);
  const where = useDocument(({ workflow: { nodes } }) => {
    const reader = node === undefined ? null : readerOf(nodes, specs, node);
    const grammar = node === undefined ? undefined : nodes[node]?.inputs.grammar;
    return reader && JSON.stringify({ ...reader, ...(typeof grammar === "string" ? { grammar } : {}) });
  });
  const offered = useCounting((state) => state.offered);
  const [count, setCount] = useState<Count | null>(null);
  useEffect(() => {
    if (!where || !offered) return setCount(null);
    let late = false;
    const timer = setTimeout(async () => {
      const body = JSON.stringify({ ...(JSON.parse(where) as Reader), text });
      const found = await ask(body);
      if (!late) setCount(found);
    }, DELAY_MS);
    return () => ((late = true), clearTimeout(timer));
  }, [where, offered, text]);
  return count;
}

async function ask(body: string): Promise<Count | null> {
  try {
    return countOf(await send<Tokens>("api/v1/tokenize", new Blob([body]), "application/json"));
  } catch (error) {
    if (error instanceof ServerError && (error.status === 404 || error.status === 405) && error.code !== "missing_file")
      useCounting.setState({ offered: false });
    return null;
  }
}
