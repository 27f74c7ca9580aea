/** What holds the editor together: the catalogue, the stream of events, validation, and the tabs after a reload. */

import { api, given, told, Unreachable } from "../api/client";
import type { JobEvent } from "../api/events";
import { follow } from "../api/events";
import { read } from "../document/read";
import { useCatalog } from "./catalog";
import type { DocumentStore } from "./document";
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

async function begin(stops: (() => void)[]) {
  await useCatalog.getState().load();
  const { event } = await given(api.GET("/api/v1/system"));
  stops.push(follow(event, useRuns.getState()));
}

/** Bring a job that runs already to where it is now. */
export async function catchUp(job: string): Promise<void> {
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
        api.POST("/api/v1/validate", { body: { workflow: workflow as unknown as Record<string, unknown>, inputs: {} } }),
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

/** Open a workflow of the server in a tab of its own. Raises ServerError, NotAWorkflow. */
export async function openSaved(name: string): Promise<void> {
  const { workflow, version } = await given(api.GET("/api/v1/workflows/{name}", { params: { path: { name } } }));
  const document = read(workflow);
  const tab = useWorkspace.getState().open(document);
  tab.document.getState().set({ saved: document, source: version > 0 ? { name, version } : null });
}
