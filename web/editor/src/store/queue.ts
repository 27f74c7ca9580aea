/** The queue as the server has it: read again whenever an event says that it changed. */

import { create } from "zustand";
import type { Job, OutputFile, Schemas } from "../api/client";
import { api, given, told } from "../api/client";
import { whenHeard } from "./heard";
import { newest } from "./newest";
import { useRuns } from "./runs";
import { catchUp } from "./session";
import { useWorkspace } from "./workspace";

const ACTIVE = "queued,claimed,running,cancelling";
const ENDED = "done,failed,cancelled";
const ENDED_SHOWN = 30;

interface QueueState {
  paused: boolean;
  running: readonly Job[];
  /** In the order in which they will run. */
  waiting: readonly Job[];
  /** The newest first. */
  ended: readonly Job[];
  /** The newest file of jobs that ended, as far back as one page of files goes. */
  made: Readonly<Record<string, OutputFile>>;
  known: boolean;
}

export const useQueue = create<QueueState>()(() => ({ paused: false, running: [], waiting: [], ended: [], made: {}, known: false }));

const read = newest();

/** Read the queue now and after every change. The answer ends it. */
export function followQueue(): () => void {
  const load = () => void loadQueue().catch((error) => useWorkspace.getState().notify("error", told(error)));
  load();
  return whenHeard(/^(job|queue)_/, load);
}

/** Read the queue. Raises ServerError, Unreachable. */
export async function loadQueue(): Promise<void> {
  const asked = Promise.all([given(api.GET("/api/v1/queue")), jobs(ACTIVE, 1000), jobs(ENDED, ENDED_SHOWN)]);
  await read(asked, ([queue, active, ended]) => {
    useQueue.setState({ paused: queue.paused, ...sorted(active, queue.waiting, ended), ended, known: true });
  });
  await loadMade();
  const { runs } = useRuns.getState();
  for (const { id } of useQueue.getState().running) if (!(id in runs)) await catchUp(id);
}

const FILES = 100;
const readMade = newest();

/** Ask for what the newest jobs have saved, unless nothing has ended since. */
async function loadMade(): Promise<void> {
  const done = useQueue.getState().ended.filter(({ state }) => state === "done");
  if (!done[0] || done[0].id in useQueue.getState().made) return;
  await readMade(given(api.GET("/api/v1/outputs", { params: { query: { limit: FILES } } })), ({ outputs }) => {
    useQueue.setState({ made: Object.fromEntries(outputs.toReversed().map((output) => [output.job, output])) });
  });
}

async function jobs(state: string, limit: number): Promise<Job[]> {
  return (await given(api.GET("/api/v1/jobs", { params: { query: { state, limit } } }))).jobs;
}

/** What runs, the oldest first, and what waits, in its order; without what had ended when that was read. */
export function sorted(
  found: readonly Job[],
  order: readonly string[],
  ended: readonly Job[],
): Pick<QueueState, "running" | "waiting"> {
  const gone = new Set(ended.map(({ id }) => id));
  const active = found.filter(({ id }) => !gone.has(id));
  const place = new Map(order.map((id, n) => [id, n]));
  const placeOf = (job: Job) => place.get(job.id) ?? order.length;
  return {
    running: active.filter(({ state }) => state !== "queued").reverse(),
    waiting: active.filter(({ state }) => state === "queued").sort((a, b) => placeOf(a) - placeOf(b)),
  };
}

// What can be done to it

/** Where a waiting job goes when it moves by a number of places; null: it stays. */
export function moveTo(waiting: readonly string[], id: string, by: number): Schemas["Move"] | null {
  const from = waiting.indexOf(id);
  const to = Math.max(0, Math.min(waiting.length - 1, from + by));
  if (from < 0 || to === from) return null;
  const behind = waiting[to < from ? to : to + 1];
  return behind === undefined ? { to: "back" } : { before: behind };
}

export const cancelJob = (id: string) => done(api.POST("/api/v1/jobs/{id}/cancel", { params: { path: { id } } }));

export const retryJob = (id: string) => done(api.POST("/api/v1/jobs/{id}/retry", { params: { path: { id } } }));

export const moveJob = (id: string, body: Schemas["Move"]) =>
  done(api.POST("/api/v1/jobs/{id}/move", { params: { path: { id } }, body }));

export const pauseQueue = (paused: boolean) => done(api.PATCH("/api/v1/queue", { body: { paused } }));

/** Cancel everything that waits; what runs goes on. */
export async function cancelWaiting(): Promise<void> {
  for (const { id } of [...useQueue.getState().waiting].reverse()) await cancelJob(id);
}

async function done(reply: Parameters<typeof given>[0]): Promise<void> {
  try {
    await given(reply);
    await loadQueue();
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
  }
}
