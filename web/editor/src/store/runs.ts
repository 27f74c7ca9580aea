/** What is known of jobs, from events alone; the reducers are pure. */

import { create } from "zustand";
import type { OutputFile, Schemas } from "../api/client";
import { api, given } from "../api/client";
import type { JobEvent, LiveEvent, Preview } from "../api/events";

export type NodeStatus = "running" | "cached" | "done" | "failed";
export type RunStatus = "queued" | "running" | "cancelling" | "done" | "failed" | "cancelled";

export interface NodeRun {
  status: NodeStatus;
  step?: number;
  total?: number;
  message?: string;
  seconds?: number;
  problem?: Record<string, string>;
  /** An object URL, until the node or its job ends and another takes its place. */
  preview?: string;
}

export interface Run {
  status: RunStatus;
  /** The number of the newest event that counts already. */
  number: number;
  /** How many steps the plan holds so far. */
  planned: number;
  nodes: Readonly<Record<string, NodeRun>>;
  warnings: readonly { node?: string; code: string; message: string }[];
  started?: number;
  finished?: number;
}

export type Runs = Readonly<Record<string, Run>>;

export const newRun = (): Run => ({ status: "queued", number: 0, planned: 0, nodes: {}, warnings: [] });

const STATES: Record<string, RunStatus> = {
  job_queued: "queued",
  job_requeued: "queued",
  job_claimed: "running",
  job_running: "running",
  job_cancelling: "cancelling",
  job_done: "done",
  job_failed: "failed",
  job_cancelled: "cancelled",
};

export const ended = (run: Run) => run.status === "done" || run.status === "failed" || run.status === "cancelled";

/** The runs after some events; those that were counted before change nothing. */
export function withEvents(runs: Runs, events: readonly JobEvent[]): Runs {
  const changed: Record<string, Run> = {};
  for (const event of events) {
    if (!event.job) continue;
    const run = changed[event.job] ?? runs[event.job] ?? newRun();
    if (event.number > run.number) changed[event.job] = { ...after(run, event), number: event.number };
  }
  return Object.keys(changed).length ? { ...runs, ...changed } : runs;
}

// What is of the moment travels beside the events and may come after the one that ended its node: that one holds

export function withLive(runs: Runs, event: LiveEvent): Runs {
  const run = runs[event.job];
  const late = !run || ended(run) || (event.node !== undefined && nodeEnded(run, event.node));
  return late ? runs : { ...runs, [event.job]: after(run, event) };
}

export function withPreview(runs: Runs, { job, node, step }: Preview, url: string): Runs {
  const run = runs[job];
  if (!run || ended(run)) return runs;
  const old = run.nodes[node];
  const shown: NodeRun = old && nodeEnded(run, node) ? { status: old.status, preview: url } : { status: "running", step, preview: url };
  return { ...runs, [job]: withNode(run, node, shown) };
}

function nodeEnded(run: Run, node: string): boolean {
  const status = run.nodes[node]?.status;
  return status !== undefined && status !== "running";
}

function after(run: Run, event: LiveEvent & { time?: number }): Run {
  const status = STATES[event.event];
  if (status) return stateChanged(run, status, event.time);
  const { node, step, total, message, seconds, problem } = event;
  switch (event.event) {
    case "run_started":
      return { ...run, planned: event.nodes ?? run.planned };
    case "node_started":
      return node ? withNode(run, node, { status: "running" }) : run;
    case "node_cached":
      return node ? withNode(run, node, { status: "cached" }) : run;
    case "node_progress":
      return node ? withNode(run, node, { status: "running", step, total, message }) : run;
    case "node_finished":
      return node ? withNode(run, node, { status: "done", seconds }) : run;
    case "node_failed":
      return node ? withNode(run, node, { status: "failed", problem }) : run;
    case "node_warning":
      return { ...run, warnings: [...run.warnings, { node, code: event.code ?? "", message: message ?? "" }] };
    default:
      return run;
  }
}

/** What is known of a node, with the nodes inside of it (`node/child`): of an expansion or of a sub-workflow. */
export function nodeRun(run: Run | undefined, id: string): NodeRun | undefined {
  if (!run) return undefined;
  const own = run.nodes[id];
  if (own && own.status !== "running") return own;
  const inside = Object.entries(run.nodes).flatMap(([name, node]) => (name.startsWith(`${id}/`) ? [node] : []));
  const busy = inside.findLast(({ status }) => status === "failed" || status === "running");
  return busy ?? own ?? (inside.length && ended(run) ? together(run, id, inside) : undefined);
}

const sums = new WeakMap<Run, Map<string, NodeRun>>();

/** Nodes that have ended as one; the same object each time for one state of a run. */
function together(run: Run, id: string, nodes: readonly NodeRun[]): NodeRun {
  const known = sums.get(run) ?? new Map<string, NodeRun>();
  sums.set(run, known);
  const ran = nodes.filter(({ status }) => status === "done");
  const seconds = ran.reduce((total, { seconds }) => total + (seconds ?? 0), 0);
  const sum = known.get(id) ?? (ran.length ? { status: "done" as const, seconds } : { status: "cached" as const });
  known.set(id, sum);
  return sum;
}

function stateChanged(run: Run, status: RunStatus, time?: number): Run {
  if (status === "queued") return { ...run, status, nodes: finishedOnly(run.nodes) };
  if (status === "running") return { ...run, status, started: run.started ?? time };
  return status === "cancelling" ? { ...run, status } : { ...run, status, finished: time, nodes: stopped(run.nodes) };
}

/** A node that was at work when its worker went away will start again. */
function finishedOnly(nodes: Run["nodes"]): Run["nodes"] {
  return Object.fromEntries(Object.entries(nodes).filter(([, node]) => node.status !== "running"));
}

const stopped = finishedOnly;

function withNode(run: Run, node: string, change: Partial<NodeRun> & { status: NodeStatus }): Run {
  const old = run.nodes[node];
  const fresh = change.status === "running" && old?.status !== "running" ? { preview: old?.preview } : old;
  const told = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
  return { ...run, nodes: { ...run.nodes, [node]: { ...fresh, ...(told as typeof change) } } };
}

/** How far a run is, 0..1: nodes that ended, and the part of those at work. */
export function progressOf(run: Run): number {
  if (run.status === "done") return 1;
  const parts = Object.values(run.nodes).map((node) =>
    node.status === "running" ? (node.total ? (node.step ?? 0) / node.total : 0) : 1,
  );
  const total = Math.max(run.planned, parts.length);
  return total ? parts.reduce((sum, part) => sum + part, 0) / total : 0;
}

interface RunsState {
  runs: Runs;
  /** The saved files of jobs that were asked about. */
  files: Readonly<Record<string, readonly OutputFile[]>>;
  /** Why nodes of a job had to run, as `explain` told when it was queued. */
  reasons: Readonly<Record<string, Readonly<Record<string, string>>>>;
  connected: boolean | null;
  events(events: readonly JobEvent[]): void;
  live(event: LiveEvent): void;
  preview(preview: Preview): void;
  connection(up: boolean): void;
  loadFiles(job: string): Promise<void>;
  explained(job: string, steps: readonly Schemas["Step"][]): void;
}

/** Previews' object URLs are kept one per job and node; the one before is let go. */
export const useRuns = create<RunsState>()((set, get) => ({
  runs: {},
  files: {},
  reasons: {},
  connected: null,
  events: (events) => set({ runs: withEvents(get().runs, events) }),
  live: (event) => set({ runs: withLive(get().runs, event) }),
  preview(preview) {
    const old = get().runs[preview.job]?.nodes[preview.node]?.preview;
    set({ runs: withPreview(get().runs, preview, URL.createObjectURL(preview.picture)) });
    if (old) URL.revokeObjectURL(old);
  },
  connection: (connected) => set({ connected }),
  explained(job, steps) {
    const ran = steps.filter(({ status }) => status === "run");
    set({ reasons: { ...get().reasons, [job]: Object.fromEntries(ran.map(({ node, reason }) => [node, reason])) } });
  },
  async loadFiles(job) {
    const { outputs } = await given(api.GET("/api/v1/outputs", { params: { query: { job, limit: 500 } } }));
    set({ files: { ...get().files, [job]: outputs.toReversed() } });
  },
}));
