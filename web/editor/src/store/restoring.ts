/** The tabs come back after a reload, and in the first window after the browser was closed. */

import { api, given, isPassing, ServerError, told } from "../api/client";
import { read } from "../document/read";
import { isObject } from "../document/types";
import { ofBrowser, ofTab } from "../settings/storage";
import { strings } from "../strings";
import type { Draft, Kept, Unsent } from "./drafts";
import { basis, draftOf, isConflict, openTab, send, UNSENT, unsentOf, useDrafts } from "./drafts";
import { TABS } from "./keeping";
import { rest } from "./patience";
import type { Tab } from "./workspace";
import { activeTab, isUntouched, newId, useWorkspace } from "./workspace";

interface List {
  tabs: Kept[];
  active: string;
}

/**
 * Open the tabs that this browser tab had, and have what closed windows could not send become drafts. What the server
 * cannot give now is asked for again and again; `opened` is told of each tab.
 */
export async function restoreTabs(signal: AbortSignal, opened: (tab: Tab) => void): Promise<void> {
  const own = listed(ofTab.read(TABS));
  const last = listed(ofBrowser.read(TABS));
  const alone = isAlone().catch(() => false);
  const list = own ?? ((await alone) ? last : null);
  const ids = new Set(list?.tabs.map(({ id }) => id));
  useDrafts.setState({ waiting: list?.tabs ?? [] });
  const restored = new Set<string>();
  for (let n = 0; !signal.aborted; n++) {
    const before = activeTab();
    for (const kept of useDrafts.getState().waiting) await restore(kept, opened, restored);
    const { tabs, activate } = useWorkspace.getState();
    const left = !restored.has(before.id) && !isUntouched(before) ? before.id : (list?.active ?? "");
    if (tabs.some(({ id }) => id === left)) activate(left);
    if ((await sendOrphans(ids)) && useDrafts.getState().waiting.length === 0) return;
    await rest(n);
  }
}

function listed(data: unknown): List | null {
  if (!isObject(data) || !Array.isArray(data.tabs)) return null;
  const tabs = (data.tabs as unknown[]).filter((tab): tab is Record<string, unknown> => isObject(tab) && typeof tab.id === "string");
  return {
    active: String(data.active),
    tabs: tabs.map((tab) => ({ ...(tab as unknown as Kept), jobs: Array.isArray(tab.jobs) ? (tab.jobs as string[]) : [] })),
  };
}

const WINDOW = "latentloom.window";

/** Whether no other window has the editor open; where the browser cannot tell, another may. */
async function isAlone(): Promise<boolean> {
  const { locks } = navigator as { locks?: LockManager }; // none over plain http
  if (!locks) return false;
  return locks.request(`${WINDOW}.door`, async () => {
    const { held } = await locks.query();
    void locks.request(WINDOW, { mode: "shared" }, () => new Promise<never>(() => undefined));
    return !held?.some(({ name }) => name === WINDOW);
  });
}

/** Open a tab again; one that cannot be opened now stays in the list, one that never can is told. */
async function restore(kept: Kept, opened: (tab: Tab) => void, restored: Set<string>): Promise<void> {
  try {
    const tab = await reopened(kept);
    if (tab) restored.add(tab.id), opened(tab);
  } catch (error) {
    if (isPassing(error)) return;
    useWorkspace.getState().notify("error", strings().shell.notOpened(kept.source?.name ?? ""), told(error));
  }
  useDrafts.setState({ waiting: useDrafts.getState().waiting.filter((one) => one !== kept) });
}

async function reopened({ id, jobs, clean, source, workflow }: Kept): Promise<Tab | null> {
  const unchanged = workflow && useWorkspace.getState().open(read(workflow), id);
  const tab = unchanged ?? (clean && source ? await openSource(id, source) : await openTab(id));
  const document = tab?.document.getState();
  document?.set({ jobs, saved: clean ? document.workflow : null });
  return tab;
}

/** Open a saved workflow in a tab of an id; null: it is gone. */
async function openSource(id: string, source: { name: string; version: number }): Promise<Tab | null> {
  const { name, version } = source;
  try {
    const found = await given(api.GET("/api/v1/workflows/{name}", { params: { path: { name }, query: { version } } }));
    const tab = useWorkspace.getState().open(read(found.workflow), id);
    tab.document.getState().set({ source });
    return tab;
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) return null;
    throw error;
  }
}

/** Whether all that closed windows left is settled: what the server refuses stays in the browser. */
async function sendOrphans(open: ReadonlySet<string>): Promise<boolean> {
  let settled = true;
  for (const key of ofBrowser.keys().filter((key) => key.startsWith(UNSENT))) {
    const id = key.slice(UNSENT.length);
    if (open.has(id) || useWorkspace.getState().tabs.some((tab) => tab.id === id)) continue;
    try {
      const draft = await draftOf(id);
      const unsent = unsentOf(id, draft);
      if (unsent) await sendOrphan(id, unsent, draft);
      ofBrowser.remove(key);
    } catch (error) {
      if (isPassing(error)) settled = false;
      else useWorkspace.getState().notify("error", told(error));
    }
  }
  return settled;
}

async function sendOrphan(id: string, unsent: Unsent, draft: Draft | null): Promise<void> {
  try {
    await send(id, unsent.workflow, basis(draft, unsent));
  } catch (error) {
    if (!isConflict(error)) throw error;
    const arrived = await draftOf(id);
    const revision = basis(arrived, unsent);
    // Somebody else went on with the draft in the meantime, or what was sent before has arrived only now
    if (arrived?.revision === revision) await send(id, unsent.workflow, revision);
    else await send(newId(), unsent.workflow, 0);
  }
}
