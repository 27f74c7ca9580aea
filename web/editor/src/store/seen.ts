/** The document as the canvas shows it: the level that is open, with edits and problems of that level. */

import { createContext, useContext } from "react";
import { useStore } from "zustand";
import { levelAt } from "../document/levels";
import type { Checked, DocumentState } from "./opened";
import { pathOf } from "./opened";
import { activeTab, useActive } from "./workspace";

const states = new WeakMap<DocumentState, DocumentState>();
const checks = new WeakMap<Checked, Map<string, Checked>>();

/** The state of a document with `workflow`, `edit` and the nodes of `checked` as the open level has them. */
export function seen(state: DocumentState): DocumentState {
  const path = pathOf(state);
  if (path.length === 0) return state;
  const known = states.get(state);
  if (known) return known;
  const made = { ...state, workflow: levelAt(state.workflow, path), edit: state.editInside, checked: within(state.checked, path.join("/")) };
  states.set(state, made);
  return made;
}

/** The problems of the nodes inside a use, by their ids there. */
function within(checked: Checked, use: string): Checked {
  const known = checks.get(checked) ?? new Map<string, Checked>();
  checks.set(checked, known);
  const problems = checked.problems.flatMap((problem) =>
    problem.node?.startsWith(`${use}/`) ? [{ ...problem, node: problem.node.slice(use.length + 1) }] : [],
  );
  const made = known.get(use) ?? { ...checked, problems };
  known.set(use, made);
  return made;
}

/** Whether a component stands on the canvas, which shows the open level; all others show the document. */
export const OnCanvas = createContext(false);

/** A part of the open level of the active tab's document; beside the canvas, of the document itself. */
export function useSeen<T>(select: (state: DocumentState) => T): T {
  const onCanvas = useContext(OnCanvas);
  return useStore(useActive().document, (state) => select(onCanvas ? seen(state) : state));
}

/** The open level of the active tab's document, outside of components. */
export const seenNow = (): DocumentState => seen(activeTab().document.getState());

/** The id in a run of a node of the open level: `use/node` inside a sub-workflow. */
export function useRunId(id: string): string {
  const onCanvas = useContext(OnCanvas);
  return useStore(useActive().document, (state) => (onCanvas ? [...pathOf(state), id].join("/") : id));
}
