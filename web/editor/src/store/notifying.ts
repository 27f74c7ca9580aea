/** A notification of the system when a job of this window has ended while nobody looked. */

import { useSettings } from "../settings/settings";
import { strings } from "../strings";
import { useHeard } from "./heard";
import { useWorkspace } from "./workspace";

const ENDS = { job_done: "done", job_failed: "failed" } as const;

/** Whether the browser lets a page notify; it asks the person. Over plain http it does not. */
export async function mayNotify(): Promise<boolean> {
  const { Notification } = window as { Notification?: typeof globalThis.Notification };
  return Notification !== undefined && (await Notification.requestPermission()) === "granted";
}

/** Notify of ends if that is wished. The answer stops it. */
export function notifyEnds(): () => void {
  return useHeard.subscribe(({ events }) => {
    if (!useSettings.getState().notify || !document.hidden || !("Notification" in window)) return;
    for (const { event, job } of events) {
      const name = nameOf(job);
      const state = ENDS[event as keyof typeof ENDS];
      if (name !== undefined && state) new Notification(name, { body: strings().shell.states[state], tag: job });
    }
  });
}

/** The name of the workflow that a job of this window ran. */
function nameOf(job: string): string | undefined {
  const tab = useWorkspace.getState().tabs.find(({ document }) => document.getState().jobs.includes(job));
  return tab && (tab.document.getState().workflow.name || strings().shell.untitled);
}
