/** The open tabs outlive a reload: documents as drafts on the server, the list of tabs in this browser tab. */

import { api, given, ServerError } from "../api/client";
import { read } from "../document/read";
import type { Workflow } from "../document/types";
import { asJson } from "../document/types";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

const KEY = "latentloom.tabs";
const SAVE_MS = 600;

interface Kept {
  id: string;
  jobs: readonly string[];
  source: { name: string; version: number } | null;
  clean: boolean;
}

/** Open the tabs that this browser tab had. */
export async function restoreTabs(): Promise<void> {
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as { tabs: Kept[]; active: string } | null;
  if (!kept) return;
  const { open, activate } = useWorkspace.getState();
  for (const { id, jobs, source, clean } of kept.tabs) {
    const workflow = await draft(id);
    if (workflow) open(workflow, id).document.getState().set({ jobs, source, saved: clean ? workflow : null });
  }
  if (useWorkspace.getState().tabs.some(({ id }) => id === kept.active)) activate(kept.active);
}

async function draft(id: string): Promise<Workflow | null> {
  try {
    const { workflow } = await given(api.GET("/api/v1/drafts/{draft}", { params: { path: { draft: id } } }));
    return read(workflow);
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) return null;
    throw error;
  }
}

/** Keep every change of the tabs; the answer stops it. */
export function keepTabs(): () => void {
  const sent = new Map<string, Workflow>();
  const watched = new Map<string, () => void>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const keep = async () => {
    timer = undefined;
    for (const { id, document } of useWorkspace.getState().tabs) {
      const { workflow } = document.getState();
      if (sent.get(id) === workflow) continue;
      try {
        await put(id, workflow);
        sent.set(id, workflow);
      } catch {
        soon(); // the connection's state tells that the server is away
      }
    }
  };
  const soon = () => {
    list();
    timer ??= setTimeout(() => void keep(), SAVE_MS);
  };
  const watch = () => {
    for (const { id, document } of useWorkspace.getState().tabs)
      if (!watched.has(id)) watched.set(id, document.subscribe(soon));
    soon();
  };
  const flush = () => timer !== undefined && void keep();

  watch();
  const stop = useWorkspace.subscribe(watch);
  addEventListener("pagehide", flush);
  return () => {
    stop();
    removeEventListener("pagehide", flush);
    clearTimeout(timer);
    for (const end of watched.values()) end();
  };
}

const put = (id: string, workflow: Workflow) =>
  given(api.PUT("/api/v1/drafts/{draft}", { params: { path: { draft: id } }, body: { workflow: asJson(workflow) }, keepalive: true }));

function list() {
  const { tabs, active } = useWorkspace.getState();
  sessionStorage.setItem(KEY, JSON.stringify({ tabs: tabs.map(keptOf), active }));
}

function keptOf({ id, document }: Tab): Kept {
  const { jobs, source, saved, workflow } = document.getState();
  return { id, jobs, source, clean: saved === workflow };
}
