import { useEffect, useState } from "react";
import { create } from "zustand";
import { send, ServerError } from "../api/client";
import { useSeen } from "../store/seen";
import { useSpecs } from "../store/specs";
import type { Count, Reader, Tokens } from "./tokens";
import { countOf, readerOf } from "./tokens";

const DELAY_MS = 400;

/** Whether the server counts tokens; one that does not know the question is not asked again. */
const useCounting = create<{ offered: boolean }>()(() => ({ offered: true }));

/** How many tokens a node's prompt has; null where nobody can tell. */
export function useTokens(node: string | undefined, text: string): Count | null {
  const specs = useSpecs();
  const where = useSeen(({ workflow: { nodes } }) => {
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
    if (error instanceof ServerError && isUnknown(error)) useCounting.setState({ offered: false });
    return null;
  }
}

/** Whether the server has no such question; a model that it does not find is another matter. */
const isUnknown = ({ status, problems }: ServerError) =>
  (status === 404 || status === 405) && problems.every(({ code }) => code !== "missing_file");
