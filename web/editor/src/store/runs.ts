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
  /** An object URL, until another takes its place or the job has ended long ago. */
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
  const inside = insideOf(run.nodes).get(id) ?? [];
  const busy = inside.findLast(({ status }) => status === "failed" || status === "running");
  return busy ?? own ?? (inside.length && ended(run) ? together(run, id, inside) : undefined);
}

const insides = new WeakMap<Run["nodes"], ReadonlyMap<string, NodeRun[]>>();

/** The nodes inside of each node, found once for one state of a run: there may be thousands, and each of them asks. */
function insideOf(nodes: Run["nodes"]): ReadonlyMap<string, NodeRun[]> {
  const known = insides.get(nodes);
  if (known) return known;
  const made = new Map<string, NodeRun[]>();
  for (const [name, node] of Object.entries(nodes))
    for (let end = name.indexOf("/"); end >= 0; end = name.indexOf("/", end + 1)) {
      const outer = name.slice(0, end);
      const inside = made.get(outer);
      if (inside) inside.push(node);
      else made.set(outer, [node]);
    }
  insides.set(nodes, made);
  return made;
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
  /** The server's events have other numbers from now on. */
  renumber(): void;
  /** The server does not know a job any more, so nothing more comes of it. */
  gone(job: string): void;
  /** All events of a job, from its first: they take the place of what was counted, unless that is newer. */
  caughtUp(job: string, events: readonly JobEvent[]): void;
  live(event: LiveEvent): void;
  preview(preview: Preview): void;
  /** Let go of what is known of jobs that ended long ago; `needed`: those that tabs show. */
  trim(needed: ReadonlySet<string>): void;
  connection(up: boolean): void;
  loadFiles(job: string): Promise<void>;
  explained(job: string, steps: readonly Schemas["Step"][]): void;
}

/** How many jobs that ended keep their previews, and how many are remembered at all. */
const PREVIEWED = 8;
const REMEMBERED = 200;

/** The runs without previews of those that ended long ago, and without the oldest of those that nobody needs. */
export function trimmed(runs: Runs, needed: ReadonlySet<string>): Runs {
  const past = Object.entries(runs).filter(([, run]) => ended(run)).sort(([, a], [, b]) => b.number - a.number);
  const gone = past.slice(REMEMBERED).filter(([job]) => !needed.has(job));
  const plain = past.slice(PREVIEWED).filter(([, { nodes }]) => Object.values(nodes).some(({ preview }) => preview));
  if (gone.length + plain.length === 0) return runs;
  const made = { ...runs, ...Object.fromEntries(plain.map(([job, run]) => [job, { ...run, nodes: unseen(run.nodes) }])) };
  for (const [job] of gone) delete made[job];
  return made;
}

const unseen = (nodes: Run["nodes"]) =>
  Object.fromEntries(Object.entries(nodes).map(([id, node]) => [id, node.preview ? { ...node, preview: undefined } : node]));

/** The object URLs of previews that one state of the runs has and the other has not. */
function lost(before: Runs, after: Runs): string[] {
  return Object.entries(before).flatMap(([job, { nodes }]) => {
    if (nodes === after[job]?.nodes) return [];
    return Object.entries(nodes).flatMap(([id, { preview }]) => (preview && after[job]?.nodes[id]?.preview !== preview ? [preview] : []));
  });
}

export const useRuns = create<RunsState>()((set, get) => {
  /** Previews' object URLs are let go with the run's node that shows them. */
  const change = (runs: Runs) => {
    for (const url of lost(get().runs, runs)) URL.revokeObjectURL(url);
    set({ runs });
  };
  return {
    runs: {},
    files: {},
    reasons: {},
    connected: null,
    events: (events) => change(withEvents(get().runs, events)),
    renumber: () => change(Object.fromEntries(Object.entries(get().runs).map(([job, run]) => [job, { ...run, number: 0 }]))),
    gone(job) {
      const run = get().runs[job] ?? newRun();
      if (!ended(run)) change({ ...get().runs, [job]: stateChanged(run, "cancelled") });
    },
    caughtUp(job, events) {
      const run = withEvents({}, events)[job];
      if (run && run.number >= (get().runs[job]?.number ?? 0)) change({ ...get().runs, [job]: run });
    },
    live: (event) => change(withLive(get().runs, event)),
    preview(preview) {
      const run = get().runs[preview.job];
      if (run && !ended(run)) change(withPreview(get().runs, preview, URL.createObjectURL(preview.picture)));
    },
    trim: (needed) => change(trimmed(get().runs, needed)),
    connection: (connected) => set({ connected }),
    explained(job, steps) {
      const ran = steps.filter(({ status }) => status === "run");
      set({ reasons: { ...get().reasons, [job]: Object.fromEntries(ran.map(({ node, reason }) => [node, reason])) } });
    },
    async loadFiles(job) {
      const { outputs } = await given(api.GET("/api/v1/outputs", { params: { query: { job, limit: 500 } } }));
      set({ files: { ...get().files, [job]: outputs.toReversed() } });
    },
  };
});
