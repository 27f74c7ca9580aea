/** What holds the editor together: the catalogue, the stream of events, validation, and the tabs after a reload. */

import { api, given, ServerError, told, Unreachable } from "../api/client";
import type { JobEvent } from "../api/events";
import { follow } from "../api/events";
import { read } from "../document/read";
import { asJson } from "../document/types";
import { patiently, useCatalog } from "./catalog";
import type { DocumentStore } from "./opened";
import { keepTabs, restoreTabs } from "./drafts";
import { heardReset, useHeard } from "./heard";
import { useRuns } from "./runs";
import { useWorkspace } from "./workspace";

const CHECK_MS = 250;

/** Start everything; the answer stops it. */
export function startSession(): () => void {
  const stops: (() => void)[] = [];
  void begin(stops).catch((error) => useWorkspace.getState().notify("error", told(error)));
  stops.push(validateAsYouType());
  return () => stops.forEach((stop) => stop());
}

/** The number of the newest event comes first: what happens while the tabs are brought back is then not missed. */
async function begin(stops: (() => void)[]) {
  const place = await patiently(() => given(api.GET("/api/v1/system")));
  await restoreTabs();
  stops.push(keepTabs());
  await useCatalog.getState().load();
  await catchUpAll();
  const runs = useRuns.getState();
  const events = (events: JobEvent[]) => (runs.events(events), useHeard.setState({ events }), fetchFiles(events));
  const reset = () => (heardReset(), void catchUpAll().catch(ignored));
  stops.push(follow(place, { ...runs, events, reset }));
}

const shownJobs = () => useWorkspace.getState().tabs.flatMap((tab) => tab.document.getState().jobs);

/** Bring the open workflows' jobs to where they are now. */
async function catchUpAll(): Promise<void> {
  await Promise.all(shownJobs().map(catchUp));
}

/** Ask for the files of the open workflows' jobs when they have saved some. */
function fetchFiles(events: readonly JobEvent[]) {
  const shown = new Set(shownJobs());
  const told = new Set(events.filter(({ event }) => event === "file_saved" || event === "job_done").map(({ job }) => job));
  for (const job of told) if (shown.has(job)) void useRuns.getState().loadFiles(job).catch(ignored);
}

const ignored = () => undefined; // the connection's state tells it already

/** Bring a job that runs already to where it is now; of one that the server has forgotten, its files are left. */
export async function catchUp(job: string): Promise<void> {
  await readEvents(job).catch((error: unknown) => {
    if (!(error instanceof ServerError && error.status === 404)) throw error;
  });
  await useRuns.getState().loadFiles(job);
}

async function readEvents(job: string): Promise<void> {
  for (let after = 0; ; ) {
    const page = await given(api.GET("/api/v1/events", { params: { query: { job, after } } }));
    useRuns.getState().events(page.events as unknown as JobEvent[]);
    if (page.events.length === 0) return;
    after = page.next;
  }
}

/** Ask the server about every open document, a moment after it changed. */
function validateAsYouType(): () => void {
  const watched = new Map<DocumentStore, () => void>();
  const watch = () => {
    const open = new Set(useWorkspace.getState().tabs.map((tab) => tab.document));
    for (const [document, stop] of watched) if (!open.has(document)) stop(), watched.delete(document);
    for (const document of open) if (!watched.has(document)) watched.set(document, validating(document));
  };
  watch();
  const stop = useWorkspace.subscribe(watch);
  return () => (stop(), watched.forEach((end) => end()));
}

function validating(document: DocumentStore): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const check = async () => {
    const { workflow } = document.getState();
    if (Object.keys(workflow.nodes).length === 0)
      return document.getState().set({ checked: { problems: [], inputs: [], outputs: [] } });
    try {
      const checked = await given(
        api.POST("/api/v1/validate", { body: { workflow: asJson(workflow), inputs: {} } }),
      );
      if (document.getState().workflow === workflow) document.getState().set({ checked });
    } catch (error) {
      if (error instanceof Unreachable) return;
      useWorkspace.getState().notify("error", told(error));
    }
  };
  const soon = () => (clearTimeout(timer), (timer = setTimeout(() => void check(), CHECK_MS)));
  soon();
  const stop = document.subscribe((state, before) => state.workflow !== before.workflow && soon());
  return () => (clearTimeout(timer), stop());
}

/** Open a workflow of the server in a tab of its own; version 0: the one in the box. Raises ServerError, NotAWorkflow. */
export async function openSaved(name: string, wanted?: number): Promise<void> {
  const { workflow, version } = await given(
    api.GET("/api/v1/workflows/{name}", { params: { path: { name }, query: { version: wanted } } }),
  );
  const document = read(workflow);
  const tab = useWorkspace.getState().open(document);
  tab.document.getState().set({ saved: document, source: version > 0 ? { name, version } : null });
}
