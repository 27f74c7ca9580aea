/** The open tabs outlive a reload: documents as drafts on the server, the list of tabs in this browser tab. */

import { create } from "zustand";
import type { Schemas } from "../api/client";
import { api, given, ServerError, told } from "../api/client";
import { same } from "../document/same";
import { read } from "../document/read";
import type { Workflow } from "../document/types";
import { asJson, isBlank, isObject } from "../document/types";
import { strings } from "../strings";
import { newest } from "./newest";
import type { DocumentState } from "./opened";
import type { Tab } from "./workspace";
import { newId, useWorkspace } from "./workspace";

const TABS = "latentloom.tabs";
/** What a closing window could not send any more waits in the browser, under the draft's id. */
const UNSENT = "latentloom.draft.";
const SAVE_MS = 600;
/** How many are remembered of what was sent without an answer. */
const UNANSWERED = 4;
/** The most that a browser sends after its window is gone. */
const KEEPALIVE_BYTES = 60_000;

interface Kept {
  id: string;
  jobs: readonly string[];
  source: DocumentState["source"];
  clean: boolean;
  /** A document that nobody changed and that has no place on the server: an opened template, or that of a picture. */
  workflow?: Workflow;
}

interface DraftsState {
  /** Drafts of no open tab, the newest first. */
  drafts: readonly Schemas["DraftInfo"][];
  /** What the server has of each open tab: the draft's revision and the document in it; null: an older one. */
  held: Map<string, { revision: number; workflow: Workflow | null }>;
  /** What was sent of each open tab, on the revision above, and not answered: it may have arrived all the same. */
  unanswered: Map<string, Workflow[]>;
}

export const useDrafts = create<DraftsState>()(() => ({ drafts: [], held: new Map(), unanswered: new Map() }));

// Where a document came from travels in its draft's layout, so that a draft saves over what it was made from

export function asDraft({ workflow, source }: Pick<DocumentState, "workflow" | "source">): Workflow {
  return source ? { ...workflow, layout: { ...workflow.layout, source } } : workflow;
}

export function fromDraft(data: unknown): Pick<DocumentState, "workflow" | "source"> {
  const workflow = read(data);
  const { source, ...layout } = workflow.layout;
  const known = isObject(source) && typeof source.name === "string" && typeof source.version === "number";
  return { workflow: { ...workflow, layout }, source: known ? (source as unknown as DocumentState["source"]) : null };
}

/** A draft on the server. */
interface Draft {
  revision: number;
  workflow: Workflow;
}

/** A draft, the revision that it was made from, and what was sent on that revision and not answered. */
interface Unsent extends Draft {
  sent: readonly Workflow[];
}

/** The revision that the next change is made from: what the server has may be one's own, whose answer was lost. */
function basis(draft: Draft | null, { revision, sent }: Pick<Unsent, "revision" | "sent">): number {
  return draft && sent.some((one) => same(one, draft.workflow)) ? draft.revision : revision;
}

async function draftOf(id: string): Promise<Draft | null> {
  try {
    const found = await given(api.GET("/api/v1/drafts/{draft}", { params: { path: { draft: id } } }));
    return { revision: found.revision, workflow: found.workflow as unknown as Workflow };
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) return null;
    throw error;
  }
}

/** What could not be sent of a draft; what arrived after all is none. */
function unsentOf(id: string, draft: Draft | null): Unsent | null {
  const text = localStorage.getItem(UNSENT + id);
  const unsent = text === null ? null : (JSON.parse(text) as Unsent);
  if (!unsent || !draft || !same(unsent.workflow, draft.workflow)) return unsent;
  localStorage.removeItem(UNSENT + id);
  return null;
}

/** Open a draft in a tab of its id; null: there is none. */
async function openTab(id: string): Promise<Tab | null> {
  const draft = await draftOf(id);
  const unsent = unsentOf(id, draft);
  const newest = unsent ?? draft;
  if (!newest) return null;
  const { workflow, source } = fromDraft(newest.workflow);
  const { held, unanswered } = useDrafts.getState();
  held.set(id, { revision: unsent ? basis(draft, unsent) : newest.revision, workflow: unsent ? null : workflow });
  unanswered.set(id, [...(unsent?.sent ?? [])]); // it may arrive yet
  const tab = useWorkspace.getState().open(workflow, id);
  tab.document.getState().set({ source });
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

/** Open the tabs that this browser tab had; what closed windows could not send becomes drafts. */
export async function restoreTabs(): Promise<void> {
  const kept = JSON.parse(sessionStorage.getItem(TABS) ?? "null") as { tabs: Kept[]; active: string } | null;
  for (const { id, jobs, clean, source, workflow } of kept?.tabs ?? []) {
    const unchanged = workflow && useWorkspace.getState().open(read(workflow), id);
    const tab = unchanged ?? (clean && source ? await openSource(id, source) : await openTab(id));
    const document = tab?.document.getState();
    document?.set({ jobs, saved: clean ? document.workflow : null });
  }
  const { tabs, activate } = useWorkspace.getState();
  if (kept && tabs.some(({ id }) => id === kept.active)) activate(kept.active);
  await sendOrphans(new Set(kept?.tabs.map(({ id }) => id)));
}

async function sendOrphans(open: ReadonlySet<string>): Promise<void> {
  for (const key of Object.keys(localStorage).filter((key) => key.startsWith(UNSENT))) {
    const id = key.slice(UNSENT.length);
    if (open.has(id)) continue;
    const draft = await draftOf(id);
    const unsent = unsentOf(id, draft);
    if (unsent) await sendOrphan(id, unsent, draft);
    localStorage.removeItem(key);
  }
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

const isConflict = (error: unknown) => error instanceof ServerError && error.status === 412;

// Keeping

/** Keep a draft that was made from that revision; 0: from none. Raises ServerError, Unreachable. */
async function send(id: string, draft: Workflow, revision: number): Promise<number> {
  const headers: Record<string, string> = revision ? { "If-Match": `"${revision}"` } : { "If-None-Match": "*" };
  const keepalive = JSON.stringify(draft).length < KEEPALIVE_BYTES;
  const options = { params: { path: { draft: id } }, body: { workflow: asJson(draft) }, headers, keepalive };
  return (await given(api.PUT("/api/v1/drafts/{draft}", options))).revision;
}

/** Keep every change of the tabs; the answer stops it. */
export function keepTabs(): () => void {
  const { held, unanswered } = useDrafts.getState();
  const watched = new Map<string, { tab: Tab; stop(): void }>();
  let timer: ReturnType<typeof setTimeout> | undefined;

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
      localStorage.removeItem(UNSENT + tab.id);
    } catch (error) {
      if (!(error instanceof ServerError)) return soon(); // the connection's state tells that the server is away
      if (isConflict(error)) return fork(tab.id);
      held.set(tab.id, { revision: held.get(tab.id)?.revision ?? 0, workflow }); // it will not be taken next time either
      useWorkspace.getState().notify("error", told(error));
    }
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
    localStorage.removeItem(UNSENT + id);
    if (held.delete(id)) await drop(id);
  };
  const fork = (id: string) => {
    unanswered.delete(id);
    useWorkspace.getState().renew(id);
    useWorkspace.getState().notify("warning", strings().panels.library.forked);
  };
  const keep = async () => {
    for (const tab of useWorkspace.getState().tabs.filter(unsent)) await keepOne(tab);
  };
  // One at a time: the next one needs the revision that the one before has made
  let work = Promise.resolve();
  const soon = () => {
    list();
    timer ??= setTimeout(() => {
      timer = undefined;
      work = work.then(keep);
    }, SAVE_MS);
  };
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
    soon();
  };
  /** A closed tab leaves its draft behind if it is saved nowhere else. */
  const leave = async (tab: Tab) => {
    const { workflow, source } = tab.document.getState();
    if (isKept(tab.document.getState()) || isBlank(workflow)) return forget(tab.id);
    if (unsent(tab)) await keepOne(tab);
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
      localStorage.setItem(UNSENT + tab.id, JSON.stringify(unsentNow(tab)));
  };

  watch();
  const stop = useWorkspace.subscribe((state, before) => {
    if (state.tabs !== before.tabs || state.active !== before.active) watch();
  });
  addEventListener("pagehide", flush);
  return () => {
    stop();
    removeEventListener("pagehide", flush);
    clearTimeout(timer);
    for (const { stop: end } of watched.values()) end();
  };
}

/** Whether a document is as it was opened or saved: it needs no draft. */
const isKept = ({ workflow, saved }: DocumentState) => saved === workflow;

function list() {
  const { tabs, active } = useWorkspace.getState();
  sessionStorage.setItem(TABS, JSON.stringify({ tabs: tabs.map(keptOf), active }));
}

function keptOf({ id, document }: Tab): Kept {
  const { jobs, source, workflow } = document.getState();
  const clean = isKept(document.getState());
  return { id, jobs, source, clean, workflow: clean && !source ? workflow : undefined };
}

// The drafts that nobody has open here

const listed = newest();

/** Read them. Raises ServerError, Unreachable. */
export async function loadDrafts(): Promise<void> {
  await listed(given(api.GET("/api/v1/drafts")), ({ drafts }) => {
    const open = new Set(useWorkspace.getState().tabs.map(({ id }) => id));
    useDrafts.setState({ drafts: drafts.filter(({ id }) => !open.has(id)) });
  });
}

/** Go on with a draft, in a tab of its own. */
export async function openDraft(id: string): Promise<void> {
  await attempt(async () => {
    await openTab(id);
    await loadDrafts();
  });
}

export const dropDraft = (id: string) => attempt(async () => (await drop(id), await loadDrafts()));

async function drop(id: string): Promise<void> {
  await given(api.DELETE("/api/v1/drafts/{draft}", { params: { path: { draft: id } }, headers: { "If-Match": "*" } }));
}

async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
  }
}
