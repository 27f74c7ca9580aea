/** What holds the editor together: the catalogue, the stream of events, validation, and the tabs after a reload. */

import { isOutdated } from "../api/build";
import { api, given, isPassing, ServerError, told } from "../api/client";
import type { JobEvent } from "../api/events";
import { follow } from "../api/events";
import { read } from "../document/read";
import { asJson } from "../document/types";
import { useSettings } from "../settings/settings";
import { strings } from "../strings";
import { seenBy } from "./caller";
import { useCatalog } from "./catalog";
import { composing } from "./composing";
import { heardReset, useHeard } from "./heard";
import { keepTabs } from "./keeping";
import { runOnChange } from "./live";
import { notifyEnds } from "./notifying";
import type { DocumentStore } from "./opened";
import { patiently } from "./patience";
import { restoreTabs } from "./restoring";
import { useRuns } from "./runs";
import { useWorkspace } from "./workspace";

const CHECK_MS = 250;
const RETRY_MS = 5000;

/** Start everything; the answer stops it. What fails keeps nothing else from its work, and is tried again. */
export function startSession(): () => void {
  const ended = new AbortController();
  const { signal } = ended;
  const caughtUp = (job: string) => void patiently(() => catchUp(job), signal).catch(tell);
  void restoreTabs(signal, ({ document }) => document.getState().jobs.forEach(caughtUp)).catch(tell);
  const stops = [keepTabs(), startServices(), runOnChange(), notifyEnds()];
  return () => (ended.abort(), stops.forEach((stop) => stop()));
}

/** Start what a page with one workflow needs: all but the tabs. The answer stops it. */
export function startServices(): () => void {
  const ended = new AbortController();
  const { signal } = ended;
  const service = (work: () => Promise<unknown>) => void patiently(work, signal).catch(tell);
  const stops = [validateAsYouType(), tellUpdates()];
  service(() => useCatalog.getState().load(signal));
  service(() => listen(signal));
  return () => (ended.abort(), stops.forEach((stop) => stop()));
}

const tell = (error: unknown) => useWorkspace.getState().notify("error", told(error));

/** Follow the events. */
async function listen(signal: AbortSignal) {
  const place = await given(api.GET("/api/v1/system"));
  seenBy(place);
  const runs = useRuns.getState();
  const events = (events: JobEvent[]) => {
    runs.events(events);
    runs.trim(new Set(shownJobs()));
    useHeard.setState({ events });
    fetchFiles(events);
  };
  const reset = () => (runs.renumber(), heardReset(), void catchUpAll().catch(ignored));
  const wanted = () => useSettings.getState().previews;
  const { again, end } = follow(place, { ...runs, events, reset }, wanted);
  const stop = useSettings.subscribe((now, before) => now.previews !== before.previews && again());
  signal.addEventListener("abort", () => (stop(), end()));
}

/** Say when the server has another editor than the one that is open. */
function tellUpdates(): () => void {
  const { notify } = useWorkspace.getState();
  const look = async (lacking: boolean) => {
    if (await isOutdated()) notify("warning", strings().shell.updated);
    else if (lacking) notify("error", strings().shell.away);
  };
  const lacking = () => void look(true);
  addEventListener("vite:preloadError", lacking); // a part of the editor that is loaded when it is needed
  const stop = useRuns.subscribe((now, before) => now.connected && before.connected === false && void look(false));
  return () => (stop(), removeEventListener("vite:preloadError", lacking));
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
    useRuns.getState().gone(job);
  });
  await useRuns.getState().loadFiles(job);
}

async function readEvents(job: string): Promise<void> {
  const found: JobEvent[] = [];
  for (let after = 0; ; ) {
    const page = await given(api.GET("/api/v1/events", { params: { query: { job, after } } }));
    found.push(...(page.events as unknown as JobEvent[]));
    if (page.events.length === 0) return useRuns.getState().caughtUp(job, found);
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
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;
  const check = async () => {
    const { workflow } = document.getState();
    if (Object.keys(workflow.nodes).length === 0)
      return document.getState().set({ checked: { problems: [], inputs: [], outputs: [] } });
    asking = true;
    try {
      const checked = await given(api.POST("/api/v1/validate", { body: { workflow: asJson(workflow), inputs: {} } }));
      if (document.getState().workflow === workflow) document.getState().set({ checked });
    } catch (error) {
      if (!isPassing(error)) tell(error);
      else if (document.getState().workflow === workflow) soon(RETRY_MS);
    } finally {
      asking = false;
    }
    if (document.getState().workflow !== workflow) soon();
  };
  /** One question at a time, once the text rests. */
  const soon = (pause = CHECK_MS) => {
    clearTimeout(timer);
    timer = setTimeout(() => (composing.active ? soon() : asking || void check()), pause);
  };
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
