/** Workflows that are kept on the server. Nothing is saved over a version that this editor has not seen. */

import { create } from "zustand";
import type { Schemas } from "../api/client";
import { api, given, ServerError, told } from "../api/client";
import { read } from "../document/read";
import { same } from "../document/same";
import type { Workflow } from "../document/types";
import { asJson } from "../document/types";
import { strings } from "../strings";
import { newest } from "./newest";
import { ask, sure } from "./question";
import { openSaved } from "./session";
import { turns } from "./turns";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

type Info = Schemas["WorkflowInfo"];

interface LibraryState {
  /** Those that people saved, by name. */
  own: readonly Info[];
  known: boolean;
}

export const useLibrary = create<LibraryState>()(() => ({ own: [], known: false }));

const listed = newest();

export async function loadLibrary(): Promise<void> {
  await listed(given(api.GET("/api/v1/workflows")), ({ workflows }) => {
    useLibrary.setState({ own: workflows.filter(({ version }) => version > 0), known: true });
  });
}

/** A version of a saved workflow; without a number the newest. Raises ServerError, NotAWorkflow. */
export async function versionOf(name: string, version?: number): Promise<{ workflow: Workflow; version: number }> {
  const found = await given(api.GET("/api/v1/workflows/{name}", { params: { path: { name }, query: { version } } }));
  return { workflow: read(found.workflow), version: found.version };
}

/** What distinguishes a version from the newest, by meaning. Raises ServerError. */
export async function differenceFrom(name: string, newest: number, version: number): Promise<Schemas["Difference"]> {
  const [now, then] = await Promise.all([versionOf(name, newest), versionOf(name, version)]);
  return given(api.POST("/api/v1/compare", { body: { before: asJson(now.workflow), after: asJson(then.workflow) } }));
}

// Saving

type Condition = { "If-Match": string } | { "If-None-Match": "*" };

const basedOn = (version: number): Condition => ({ "If-Match": `"${version}"` });
const NEW: Condition = { "If-None-Match": "*" };

async function put(name: string, workflow: Workflow, headers: Condition): Promise<number> {
  const body = { workflow: workflow as unknown as Record<string, unknown> };
  const { version } = await given(api.PUT("/api/v1/workflows/{name}", { params: { path: { name } }, body, headers }));
  return version;
}

const isConflict = (error: unknown) => error instanceof ServerError && error.status === 412;

const saving = turns<object>();

/** Save a tab under its name; one without a name is given one first. False: it was not saved. */
export function save(tab: Tab): Promise<boolean> {
  return saving(tab.document, async (waited) => {
    const { source, saved: last, workflow } = tab.document.getState();
    if (waited && last === workflow) return true; // the save before this one has done it
    return source === null ? underName(tab) : over(tab, source);
  });
}

function over(tab: Tab, source: { name: string; version: number }): Promise<boolean> {
  return attempt(async () => {
    try {
      return await saved(tab, source.name, basedOn(source.version));
    } catch (error) {
      if (!isConflict(error)) throw error;
      return (await isMine(tab, source)) || settle(tab, source.name);
    }
  });
}

/** Save a tab under a name that is asked for. */
export const saveAs = (tab: Tab): Promise<boolean> => saving(tab.document, () => underName(tab));

async function underName(tab: Tab, suggestion = nameOf(tab)): Promise<boolean> {
  const words = strings().panels.library;
  const answer = await ask({
    title: words.saveTitle,
    field: { label: words.name, value: suggestion },
    choices: [{ id: "save", label: words.save, kind: "primary" }],
  });
  const name = answer?.text.trim();
  if (!name) return false;
  return attempt(async () => {
    try {
      return await saved(tab, name, NEW);
    } catch (error) {
      if (!isConflict(error)) throw error;
      return overExisting(tab, name);
    }
  });
}

function nameOf({ document }: Tab): string {
  const { source, workflow } = document.getState();
  return (source?.name ?? workflow.name).replace(/[^\p{L}\p{N}_ .()+-]/gu, " ").trim();
}

/** Save a tab; the document takes the name, as its pictures' files and its draft will. */
async function saved(tab: Tab, name: string, condition: Condition): Promise<boolean> {
  const { workflow } = tab.document.getState();
  const version = await put(name, { ...workflow, name }, condition);
  named(tab, workflow, { name, version });
  useWorkspace.getState().notify("info", strings().panels.library.saved(name, version));
  await loadLibrary();
  return true;
}

/** Name a document as it is on the server; it counts as saved unless it has been changed since. */
function named({ document }: Tab, asSaved: Workflow | null, source: { name: string; version: number }) {
  const unchanged = document.getState().workflow === asSaved;
  document.getState().rename(source.name);
  document.getState().set({ saved: unchanged ? document.getState().workflow : asSaved, source });
}

/** The name is taken: another one, or a new version of that workflow. */
async function overExisting(tab: Tab, name: string): Promise<boolean> {
  const words = strings().panels.library;
  const answer = await ask({
    title: words.taken(name),
    text: words.takenText,
    choices: [
      { id: "other", label: words.otherName, kind: "primary" },
      { id: "over", label: words.newVersion },
    ],
  });
  if (answer?.choice === "other") return underName(tab, name);
  if (answer?.choice !== "over") return false;
  return saved(tab, name, basedOn((await versionOf(name)).version));
}

/** Whether the newer version is what this tab sent, whose answer was lost; the tab then goes on from it. */
async function isMine(tab: Tab, { name, version }: { name: string; version: number }): Promise<boolean> {
  const { workflow } = tab.document.getState();
  const theirs = await versionOf(name).catch(() => null);
  if (theirs?.version !== version + 1 || !same(theirs.workflow, read({ ...workflow, name }))) return false;
  named(tab, workflow, { name, version: theirs.version });
  return true;
}

/** Somebody else has saved since, or removed it: nothing is overwritten, a person decides. */
async function settle(tab: Tab, name: string): Promise<boolean> {
  const words = strings().panels.library;
  const theirs = await versionOf(name).catch((error) => {
    if (error instanceof ServerError && error.status === 404) return null;
    throw error;
  });
  if (theirs === null || theirs.version === 0) return underName(tab, name);
  const answer = await ask({
    title: words.conflict(name),
    text: words.conflictText(theirs.version),
    choices: [
      { id: "copy", label: words.keepMine, kind: "primary" },
      { id: "theirs", label: words.takeTheirs },
      { id: "both", label: words.showBoth },
    ],
  });
  if (answer?.choice === "copy") return underName(tab, words.copyOf(name));
  if (answer?.choice === "theirs") take(tab, name, theirs);
  if (answer?.choice === "both") await openSaved(name);
  return false;
}

/** Put a saved version into a tab; what was there is one step of undo away. */
function take(tab: Tab, name: string, { workflow, version }: { workflow: Workflow; version: number }) {
  const { replace, set } = tab.document.getState();
  replace(workflow);
  set({ saved: workflow, source: { name, version } });
}

// What can be done to a saved workflow

export const openWorkflow = (name: string) => attempt(() => opened(name));

async function opened(name: string): Promise<boolean> {
  const { tabs, activate } = useWorkspace.getState();
  const open = tabs.find(({ document }) => document.getState().source?.name === name);
  if (open) activate(open.id);
  else await openSaved(name);
  return true;
}

/** Rename a workflow: a new one with its newest version takes its place. */
export async function renameWorkflow({ name, version }: Info): Promise<boolean> {
  const words = strings().panels.library;
  const answer = await ask({
    title: words.renameTitle(name),
    text: words.renameText,
    field: { label: words.name, value: name },
    choices: [{ id: "rename", label: words.rename, kind: "primary" }],
  });
  const next = answer?.text.trim();
  if (!next || next === name) return false;
  return attempt(async () => {
    const { workflow } = await versionOf(name, version);
    const made = await put(next, { ...workflow, name: next }, NEW);
    await dropped(name, version);
    for (const tab of openOf(name)) named(tab, tab.document.getState().saved, { name: next, version: made });
    await loadLibrary();
    return true;
  });
}

/** Copy a workflow under the next free name. */
export function duplicateWorkflow({ name, version }: Info): Promise<boolean> {
  return attempt(async () => {
    const { workflow } = await versionOf(name, version);
    for (let n = 1; ; n++)
      try {
        const copy = strings().panels.library.copyOf(name) + (n > 1 ? ` ${n}` : "");
        await put(copy, { ...workflow, name: copy }, NEW);
        break;
      } catch (error) {
        if (!isConflict(error)) throw error;
      }
    await loadLibrary();
    return true;
  });
}

export async function removeWorkflow({ name, version }: Info): Promise<boolean> {
  const words = strings().panels.library;
  if (!(await sure(words.removeTitle(name), words.removeText, words.remove))) return false;
  return attempt(async () => {
    await dropped(name, version);
    for (const { document } of openOf(name)) document.getState().set({ source: null, saved: null });
    await loadLibrary();
    return true;
  });
}

async function dropped(name: string, version: number): Promise<void> {
  await given(api.DELETE("/api/v1/workflows/{name}", { params: { path: { name } }, headers: basedOn(version) }));
}

/** The tabs that hold a saved workflow. */
function openOf(name: string): Tab[] {
  return useWorkspace.getState().tabs.filter(({ document }) => document.getState().source?.name === name);
}

// Versions

export async function versionsOf(name: string): Promise<readonly Info[]> {
  return (await given(api.GET("/api/v1/workflows/{name}/versions", { params: { path: { name } } }))).workflows;
}

/** Make an old version the newest again; the tabs in which nothing has changed show it. */
export function restoreVersion(name: string, version: number, newest: number): Promise<boolean> {
  return attempt(async () => {
    const { workflow } = await versionOf(name, version);
    const made = await put(name, workflow, basedOn(newest));
    for (const tab of useWorkspace.getState().tabs) {
      const { source, saved, workflow: shown } = tab.document.getState();
      if (source?.name === name && saved === shown) take(tab, name, { workflow, version: made });
    }
    useWorkspace.getState().notify("info", strings().panels.library.restored(version, made));
    await loadLibrary();
    return true;
  });
}

/** Show an old version in a tab of its own. */
export function lookAt(name: string, version: number): Promise<boolean> {
  return attempt(async () => {
    const { workflow } = await versionOf(name, version);
    const title = strings().panels.library.versionName(name, version);
    useWorkspace.getState().open({ ...workflow, name: title });
    return true;
  });
}

/** Do it; what goes wrong is told, and the answer is false. */
async function attempt(work: () => Promise<boolean>): Promise<boolean> {
  try {
    return await work();
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
    return false;
  }
}
