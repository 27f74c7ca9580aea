/** Running on change: the newest document that the server has no objection to is run; what ran before it is cancelled. */

import type { Workflow } from "../document/types";
import { emptyWorkflow } from "../document/types";
import { same } from "../document/same";
import type { DocumentStore } from "./opened";
import { cancelShown, run } from "./running";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

/** Whether two states of a document run the same, wherever their nodes stand. */
export const sameRun = (a: Workflow, b: Workflow): boolean =>
  a === b || same({ ...a, name: "", layout: NOWHERE }, { ...b, name: "", layout: NOWHERE });

const NOWHERE = emptyWorkflow().layout;

/** Run every open workflow on change that is to be. The answer stops it. */
export function runOnChange(): () => void {
  const watched = new Map<DocumentStore, () => void>();
  const watch = () => {
    const { tabs } = useWorkspace.getState();
    for (const [document, stop] of watched) if (!tabs.some((tab) => tab.document === document)) stop(), watched.delete(document);
    for (const tab of tabs) if (!watched.has(tab.document)) watched.set(tab.document, keepingUp(tab));
  };
  watch();
  const stop = useWorkspace.subscribe(watch);
  return () => (stop(), watched.forEach((end) => end()));
}

/** What was checked last is what can run: a text that is being typed is checked when it rests. */
function keepingUp(tab: Tab): () => void {
  let due: Workflow | null = null;
  let busy = false;
  let taken: Workflow | null = null; // `ran` is known only when the server has the job
  const work = async () => {
    busy = true;
    while (due !== null) {
      due = null;
      await cancelShown(tab);
      taken = tab.document.getState().workflow;
      if ((await run(tab)) === null) tab.document.getState().set({ live: false }); // why is told; it is not tried again by itself
    }
    busy = false;
  };
  return tab.document.subscribe((now, before) => {
    if (now.checked === before.checked && now.live === before.live) return;
    const fits = now.live && now.checked.problems.length === 0 && Object.keys(now.workflow.nodes).length > 0;
    const last = busy ? (due ?? taken) : now.ran;
    if (!fits || (last && sameRun(last, now.workflow))) return;
    due = now.workflow;
    if (!busy) void work();
  });
}
