import { temporal } from "zundo";
import type { TemporalState } from "zundo";
import type { StoreApi } from "zustand";
import { createStore } from "zustand/vanilla";
import type { Problem, Schemas } from "../api/client";
import type { Edit } from "../document/edit";
import type { Path } from "../document/levels";
import { atLevel, graphsAlong, levelAt } from "../document/levels";
import type { Workflow } from "../document/types";
import { composing } from "./composing";

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

/** A node whose sub-workflow is open, and the part of the level around it that was shown. */
interface Step {
  use: string;
  viewport: Viewport | null;
}

export interface DocumentState {
  /** The one owner of the document; only `edit` and `replace` change it, and undo gives older ones back. */
  workflow: Workflow;
  /** Ids of nodes, `group:ID`, `note:ID`, and edges (see canvas/flow.ts). Outside the history. */
  selection: ReadonlySet<string>;
  viewport: Viewport | null;
  /** The way to the sub-workflow that the canvas shows; empty: the document itself. Outside the history. */
  inside: readonly Step[];
  checked: Checked;
  /** The document as it was saved last; null: never. */
  saved: Workflow | null;
  /** Name and version on the server; null: not from there. */
  source: { name: string; version: number } | null;
  /** The jobs that this document was last run as: those that have not ended, and the last. */
  jobs: readonly string[];
  /** The document as it was ordered last in this window; null: not yet. */
  ran: Workflow | null;
  /** Whether an order is under way. */
  ordering: boolean;
  /** Whether every change that can run is run at once. */
  live: boolean;
  /** Edits with the same `merge` that follow one another within a second, or while an input method composes, make one step of undo. */
  edit(edit: Edit, merge?: string): void;
  /** An edit of the level that the canvas shows. */
  editInside(edit: Edit, merge?: string): void;
  /** Show the level that a path names; back at one that was shown, with the part of it that was. */
  goTo(path: Path): void;
  /** Give the document a name, also as it was before: a name is no step of undo. */
  rename(name: string): void;
  /** Put another document in place, as one step of undo. */
  replace(workflow: Workflow): void;
  select(ids: Iterable<string>): void;
  set(state: Partial<Pick<DocumentState, "viewport" | "checked" | "saved" | "source" | "jobs" | "ran" | "ordering" | "live">>): void;
}

export type History = Pick<DocumentState, "workflow">;
export type DocumentStore = StoreApi<DocumentState> & { temporal: StoreApi<TemporalState<History>> };

export const pathOf = ({ inside }: Pick<DocumentState, "inside">): Path => inside.map(({ use }) => use);

/** The store of one open workflow, with a history of its own. */
export function createDocument(workflow: Workflow, now: () => number = Date.now, composition = composing): DocumentStore {
  const last: { merge: string; at: number; made: Workflow | null } = { merge: "", at: 0, made: null };
  const store: DocumentStore = createStore<DocumentState>()(
    temporal(
      (set, get) => ({
        workflow,
        selection: new Set<string>(),
        viewport: null,
        inside: [],
        checked: { problems: [], inputs: [], outputs: [] },
        saved: null,
        source: null,
        jobs: [],
        ran: null,
        ordering: false,
        live: false,
        edit(edit, merge = "") {
          const before = get().workflow;
          const after = edit(before);
          if (after === before) return;
          const at = now();
          const soon = at - last.at < MERGE_MS || composition.active;
          const merged = merge !== "" && merge === last.merge && before === last.made && soon;
          Object.assign(last, { merge, at, made: after });
          if (merged) store.temporal.getState().pause();
          set({ workflow: after });
          if (merged) store.temporal.getState().resume();
        },
        editInside(edit, merge = "") {
          const path = pathOf(get());
          get().edit(atLevel(path, edit), merge && [...path, merge].join("/"));
        },
        goTo(path) {
          const { inside, viewport, workflow } = get();
          const shared = inside.findIndex(({ use }, n) => use !== path[n]);
          const depth = shared < 0 ? inside.length : shared;
          const left = inside[depth];
          if (!left && path.length === depth) return;
          const outer = left ? left.viewport : viewport;
          const steps = path.slice(depth).map((use, n) => ({ use, viewport: n === 0 ? outer : null }));
          const selected = left && !steps.length && left.use in levelAt(workflow, path).nodes ? [left.use] : [];
          set({ inside: [...inside.slice(0, depth), ...steps], viewport: steps.length ? null : outer, selection: new Set(selected) });
        },
        rename(name) {
          const named = (workflow: Workflow) => (workflow.name === name ? workflow : { ...workflow, name });
          const steps = (all: Partial<History>[]) => all.map(({ workflow }) => ({ workflow: workflow && named(workflow) }));
          const { pastStates, futureStates, pause, resume } = store.temporal.getState();
          pause();
          set({ workflow: named(get().workflow) });
          resume();
          store.temporal.setState({ pastStates: steps(pastStates), futureStates: steps(futureStates) });
        },
        replace(next) {
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
  // Undo can take away a sub-workflow that is open
  store.subscribe((state) => {
    const depth = graphsAlong(state.workflow, pathOf(state)).length;
    if (depth < state.inside.length) state.goTo(pathOf(state).slice(0, depth));
  });
  return store;
}
