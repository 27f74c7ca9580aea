/** The shipped blocks: workflows that are parts of others, each as a document with one node that uses it. */

import { create } from "zustand";
import { api, given } from "../api/client";
import { blockOf } from "../document/blocks";
import type { Workflow } from "../document/types";
import { versionOf } from "./library";

export interface Block {
  name: string;
  piece: Workflow;
}

export const useBlocks = create<{ blocks: readonly Block[] }>()(() => ({ blocks: [] }));

/** Fetch the blocks, once. Raises ServerError. */
export async function loadBlocks(): Promise<void> {
  if (useBlocks.getState().blocks.length > 0) return;
  const { workflows } = await given(api.GET("/api/v1/workflows"));
  const names = workflows.filter(({ block }) => block).map(({ name }) => name);
  useBlocks.setState({ blocks: await Promise.all(names.map(fetched)) });
}

async function fetched(name: string): Promise<Block> {
  const { workflow, version } = await versionOf(name);
  return { name, piece: blockOf(workflow, { name, version }) };
}
