/** Open tabs outlive a reload: their documents as drafts on the server, their list in the browser. */

import { isPassing, told, Unreachable } from "../api/client";
import type { Workflow } from "../document/types";
import { isBlank } from "../document/types";
import { ofBrowser, ofTab } from "../settings/storage";
import { strings } from "../strings";
import type { Kept, Unsent } from "./drafts";
import { asDraft, basis, draftOf, drop, isConflict, loadDrafts, send, UNSENT, useDrafts } from "./drafts";
import type { DocumentState } from "./opened";
import { useRuns } from "./runs";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

/** The list of the tabs: of this browser tab, and of the window that was used last. */
export const TABS = "latentloom.tabs";
const SAVE_MS = 600;
/** While the server takes nothing, it is asked less and less often. */
const LONGEST_MS = 30_000;
/** How many are remembered of what was sent without an answer. */
const UNANSWERED = 4;

/** Keep every change of the tabs; the answer stops it. */
export function keepTabs(): () => void {
  const { held, unanswered } = useDrafts.getState();
  const watched = new Map<string, { tab: Tab; stop(): void }>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pause = SAVE_MS;
  let used = false;

  /** The next window gets this one's tabs, unless nobody did anything in it. */
  const list = () => {
    const { tabs, active } = useWorkspace.getState();
    const all = { tabs: [...useDrafts.getState().waiting, ...tabs.map(keptOf)], active };
    used ||= all.tabs.length > 1 || tabs.some(({ document }) => !isBlank(document.getState().workflow));
    if (used) ofBrowser.write(TABS, all);
    ofTab.write(TABS, all);
  };
  const unsent = ({ id, document }: Tab) => {
    if (isKept(document.getState())) return held.has(id);
    const { workflow } = document.getState();
    return held.get(id)?.workflow !== workflow && (held.has(id) || !isBlank(workflow));
  };
  const keepOne = async (tab: Tab) => {
    const { workflow, source } = tab.document.getState();
    try {
      if (isKept(tab.document.getState())) return await forget(tab.id);
      const revision = await sendMine(tab.id, asDraft({ workflow, source }));
      held.set(tab.id, { revision, workflow });
      unanswered.delete(tab.id);
      ofBrowser.remove(UNSENT + tab.id);
      pause = SAVE_MS;
    } catch (error) {
      if (isPassing(error)) return again(error);
      if (isConflict(error)) return fork(tab.id);
      ofBrowser.write(UNSENT + tab.id, unsentNow(tab));
      held.set(tab.id, { revision: held.get(tab.id)?.revision ?? 0, workflow }); // it will not be taken next time either
      useWorkspace.getState().notify("error", told(error));
    }
  };
  /** The connection's state tells that the server is away; why it does not take anything is told once. */
  const again = (error: unknown) => {
    if (pause === SAVE_MS && !(error instanceof Unreachable)) useWorkspace.getState().notify("warning", strings().shell.notKept, told(error));
    pause = Math.min(2 * pause, LONGEST_MS);
    soon();
  };
  /** A conflict with what this tab itself sent before is none. */
  const sendMine = async (id: string, draft: Workflow): Promise<number> => {
    const sent = [...(unanswered.get(id) ?? []), draft].slice(-UNANSWERED);
    const revision = held.get(id)?.revision ?? 0;
    unanswered.set(id, sent);
    try {
      return await send(id, draft, revision);
    } catch (error) {
      const own = isConflict(error) ? basis(await draftOf(id), { revision, sent }) : revision;
      if (own === revision) throw error;
      return await send(id, draft, own);
    }
  };
  const forget = async (id: string) => {
    unanswered.delete(id);
    ofBrowser.remove(UNSENT + id);
    if (held.delete(id)) await drop(id);
  };
  const fork = (id: string) => {
    unanswered.delete(id);
    useWorkspace.getState().renew(id);
    useWorkspace.getState().notify("warning", strings().panels.library.forked);
  };
  const keep = async () => {
    list();
    for (const tab of useWorkspace.getState().tabs.filter(unsent)) await keepOne(tab);
  };
  // One at a time: the next one needs the revision that the one before has made
  let work = Promise.resolve();
  const now = () => {
    clearTimeout(timer);
    timer = undefined;
    work = work.then(keep);
  };
  const soon = () => void (timer ??= setTimeout(now, pause));
  const watch = () => {
    const open = new Map(useWorkspace.getState().tabs.map((tab) => [tab.id, tab]));
    for (const [id, { tab, stop }] of watched)
      if (!open.has(id)) {
        stop();
        watched.delete(id);
        const renewed = [...open.values()].some(({ document }) => document === tab.document);
        if (!renewed) work = work.then(() => leave(tab)).catch(() => undefined); // a draft too many does no harm
      }
    for (const [id, tab] of open) if (!watched.has(id)) watched.set(id, { tab, stop: tab.document.subscribe(soon) });
    list();
    soon();
  };
  /** A closed tab leaves its draft behind if it is saved nowhere else. */
  const leave = async (tab: Tab) => {
    const { workflow, source } = tab.document.getState();
    if (isKept(tab.document.getState()) || isBlank(workflow)) return forget(tab.id);
    if (unsent(tab)) await keepOne(tab);
    if (unsent(tab)) ofBrowser.write(UNSENT + tab.id, unsentNow(tab)); // no open tab tries again; the next window does
    const name = source?.name || workflow.name || strings().shell.untitled;
    useWorkspace.getState().notify("info", strings().panels.library.kept(name));
    await loadDrafts();
  };
  const unsentNow = ({ id, document }: Tab): Unsent => {
    const revision = held.get(id)?.revision ?? 0;
    return { revision, workflow: asDraft(document.getState()), sent: unanswered.get(id) ?? [] };
  };
  const flush = () => {
    for (const tab of useWorkspace.getState().tabs.filter((one) => unsent(one) && !isKept(one.document.getState())))
      ofBrowser.write(UNSENT + tab.id, unsentNow(tab));
    list();
  };

  watch();
  const stop = useWorkspace.subscribe((state, before) => {
    if (state.tabs !== before.tabs || state.active !== before.active) watch();
  });
  const heard = useRuns.subscribe((state, before) => state.connected && before.connected === false && now());
  const events = new AbortController();
  addEventListener("pagehide", flush, events);
  addEventListener("visibilitychange", () => document.hidden && flush(), events);
  return () => {
    stop();
    heard();
    events.abort();
    clearTimeout(timer);
    for (const { stop: end } of watched.values()) end();
  };
}

/** Whether a document is as it was opened or saved: it needs no draft. */
const isKept = ({ workflow, saved }: DocumentState) => saved === workflow;

function keptOf({ id, document }: Tab): Kept {
  const { jobs, source, workflow } = document.getState();
  const clean = isKept(document.getState());
  return { id, jobs, source, clean, workflow: clean && !source ? workflow : undefined };
}

