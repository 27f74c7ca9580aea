/** Drafts on the server: what is kept of open tabs that is saved nowhere else. */

import { create } from "zustand";
import type { Schemas } from "../api/client";
import { api, given, ServerError, told } from "../api/client";
import { same } from "../document/same";
import { read } from "../document/read";
import type { Workflow } from "../document/types";
import { asJson, isObject } from "../document/types";
import { ofBrowser } from "../settings/storage";
import { newest } from "./newest";
import type { DocumentState } from "./opened";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

/** What is not on the server waits in the browser, under the draft's id. */
export const UNSENT = "latentloom.draft.";
/** The most that a browser sends after its window is gone. */
const KEEPALIVE_BYTES = 60_000;

/** A tab as this browser tab remembers it. */
export interface Kept {
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
  /** Tabs from before that could not be opened yet. */
  waiting: readonly Kept[];
}

export const useDrafts = create<DraftsState>()(() => ({ drafts: [], held: new Map(), unanswered: new Map(), waiting: [] }));

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
export interface Draft {
  revision: number;
  workflow: Workflow;
}

/** A draft, the revision that it was made from, and what was sent on that revision and not answered. */
export interface Unsent extends Draft {
  sent: readonly Workflow[];
}

/** The revision that the next change is made from: what the server has may be one's own, whose answer was lost. */
export function basis(draft: Draft | null, { revision, sent }: Pick<Unsent, "revision" | "sent">): number {
  return draft && sent.some((one) => same(one, draft.workflow)) ? draft.revision : revision;
}

export async function draftOf(id: string): Promise<Draft | null> {
  try {
    const found = await given(api.GET("/api/v1/drafts/{draft}", { params: { path: { draft: id } } }));
    return { revision: found.revision, workflow: found.workflow as unknown as Workflow };
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) return null;
    throw error;
  }
}

/** What is not on the server of a draft; what arrived after all is none. */
export function unsentOf(id: string, draft: Draft | null): Unsent | null {
  const unsent = ofBrowser.read(UNSENT + id);
  if (!isUnsent(unsent)) return null;
  if (!draft || !same(unsent.workflow, draft.workflow)) return unsent;
  ofBrowser.remove(UNSENT + id);
  return null;
}

const isUnsent = (data: unknown): data is Unsent =>
  isObject(data) && typeof data.revision === "number" && isObject(data.workflow) && Array.isArray(data.sent);

/** Open a draft in a tab of its id; null: there is none. Raises ServerError, Unreachable, NotAWorkflow. */
export async function openTab(id: string): Promise<Tab | null> {
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

export const isConflict = (error: unknown) => error instanceof ServerError && error.status === 412;

/** Keep a draft that was made from that revision; 0: from none. Raises ServerError, Unreachable. */
export async function send(id: string, draft: Workflow, revision: number): Promise<number> {
  const headers: Record<string, string> = revision ? { "If-Match": `"${revision}"` } : { "If-None-Match": "*" };
  const keepalive = new Blob([JSON.stringify(draft)]).size < KEEPALIVE_BYTES;
  const options = { params: { path: { draft: id } }, body: { workflow: asJson(draft) }, headers, keepalive };
  return (await given(api.PUT("/api/v1/drafts/{draft}", options))).revision;
}

/** Remove a draft. Raises ServerError, Unreachable. */
export async function drop(id: string): Promise<void> {
  await given(api.DELETE("/api/v1/drafts/{draft}", { params: { path: { draft: id } }, headers: { "If-Match": "*" } }));
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

async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
  }
}
