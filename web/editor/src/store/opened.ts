import { temporal } from "zundo";
import type { TemporalState } from "zundo";
import type { StoreApi } from "zustand";
import { createStore } from "zustand/vanilla";
import type { Problem, Schemas } from "../api/client";
import type { Edit } from "../document/edit";
import type { Workflow } from "../document/types";

const MERGE_MS = 1000;
const STEPS = 200;

export interface Viewport {
  x: number;
  y: number;
  zoom: number;
}

/** What the server said about the document as it is now. */
export interface Checked {
  problems: Problem[];
  inputs: Schemas["Interface"][];
  outputs: string[];
}

export interface DocumentState {
  /** The one owner of the document; only `edit` and `replace` change it, and undo gives older ones back. */
  workflow: Workflow;
  /** Ids of nodes, `group:ID`, `note:ID`, and edges (see canvas/flow.ts). Outside the history. */
  selection: ReadonlySet<string>;
  viewport: Viewport | null;
  checked: Checked;
  /** The document as it was saved last; null: never. */
  saved: Workflow | null;
  /** Name and version on the server; null: not from there. */
  source: { name: string; version: number } | null;
  /** The jobs that this document was last run as: those that have not ended, and the last. */
  jobs: readonly string[];
  /** The edits with the same `merge` within a second make one step of undo, so that typing is one step. */
  edit(edit: Edit, merge?: string): void;
  /** Put another document in place, as one step of undo. */
  replace(workflow: Workflow): void;
  select(ids: Iterable<string>): void;
  set(state: Partial<Pick<DocumentState, "viewport" | "checked" | "saved" | "source" | "jobs">>): void;
}

export type History = Pick<DocumentState, "workflow">;
export type DocumentStore = StoreApi<DocumentState> & { temporal: StoreApi<TemporalState<History>> };

/** The store of one open workflow, with a history of its own. */
export function createDocument(workflow: Workflow, now: () => number = Date.now): DocumentStore {
  const last = { merge: "", at: 0 };
  const store: DocumentStore = createStore<DocumentState>()(
    temporal(
      (set, get) => ({
        workflow,
        selection: new Set<string>(),
        viewport: null,
        checked: { problems: [], inputs: [], outputs: [] },
        saved: null,
        source: null,
        jobs: [],
        edit(edit, merge = "") {
          const before = get().workflow;
          const after = edit(before);
          if (after === before) return;
          const at = now();
          const merged = merge !== "" && merge === last.merge && at - last.at < MERGE_MS;
          Object.assign(last, { merge, at });
          if (merged) store.temporal.getState().pause();
          set({ workflow: after });
          if (merged) store.temporal.getState().resume();
        },
        replace(next) {
          last.merge = "";
          set({ workflow: next, selection: new Set() });
        },
        select(ids) {
          const next = new Set(ids);
          const old = get().selection;
          if (next.size !== old.size || [...next].some((id) => !old.has(id))) set({ selection: next });
        },
        set,
      }),
      {
        limit: STEPS,
        partialize: ({ workflow }): History => ({ workflow }),
        equality: (a, b) => a.workflow === b.workflow,
      },
    ),
  );
  return store;
}
