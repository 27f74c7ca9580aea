import { expect, it, vi } from "vitest";
import type { JobEvent } from "../api/events";
import { nodeRun, progressOf, trimmed, useRuns, withEvents, withLive, withPreview } from "./runs";

let number = 0;
const event = (name: string, more: Partial<JobEvent> = {}): JobEvent => ({ number: ++number, time: number, job: "j", event: name, ...more });

const story = [
  event("job_queued"),
  event("job_running"),
  event("run_started", { nodes: 3 }),
  event("node_cached", { node: "a" }),
  event("node_started", { node: "b" }),
  event("node_progress", { node: "b", step: 1, total: 4 }),
];

it("a run is what its events say", () => {
  const { j } = withEvents({}, story);

  expect(j).toMatchObject({ status: "running", planned: 3, number: story.at(-1)!.number });
  expect(j!.nodes).toEqual({ a: { status: "cached" }, b: { status: "running", step: 1, total: 4, preview: undefined } });
  expect(progressOf(j!)).toBeCloseTo(1.25 / 3);
});

it("events that were counted before change nothing, in whatever pages they come", () => {
  const once = withEvents({}, story);

  expect(withEvents(once, story)).toBe(once);
  expect(withEvents(withEvents({}, story.slice(0, 4)), story)).toEqual(once);
});

it("progress of the moment counts, and not after the end", () => {
  const live = { event: "node_progress", job: "j", node: "b", step: 3, total: 4 };
  const ended = withEvents({}, [...story, event("node_finished", { node: "b", seconds: 2 }), event("job_done")]);

  expect(withLive(withEvents({}, story), live).j!.nodes.b).toMatchObject({ step: 3 });
  expect(withLive(ended, live)).toBe(ended);
  expect(withLive({}, live)).toEqual({});
});

it("what is of the moment and comes late does not set a finished node to work again", () => {
  const finished = withEvents({}, [...story, event("node_finished", { node: "b", seconds: 2 })]);
  const live = { event: "node_progress", job: "j", node: "b", step: 3, total: 4 };
  const preview = { job: "j", node: "b", step: 3, picture: new Blob() };

  expect(withLive(finished, live)).toBe(finished);
  const { j } = withEvents(withPreview(finished, preview, "blob:1"), [event("job_done")]);
  expect(j!.nodes.b).toMatchObject({ status: "done", seconds: 2, step: 1, preview: "blob:1" });
});

it("a finished node keeps its last picture and its seconds", () => {
  const preview = { job: "j", node: "b", step: 2, picture: new Blob() };
  const shown = withPreview(withEvents({}, story), preview, "blob:1");
  const { j } = withEvents(shown, [event("node_finished", { node: "b", seconds: 2 }), event("job_done")]);

  expect(j!.nodes.b).toMatchObject({ status: "done", seconds: 2, preview: "blob:1" });
  expect(progressOf(j!)).toBe(1);
});

it("a job that waits again forgets what was under way, and keeps what ended", () => {
  const { j } = withEvents({}, [...story, event("job_requeued")]);

  expect(j).toMatchObject({ status: "queued", nodes: { a: { status: "cached" } } });
  expect(j!.nodes.b).toBeUndefined();
});

it("a cancelled job shows no node at work", () => {
  const { j } = withEvents({}, [...story, event("job_cancelling"), event("job_cancelled")]);

  expect(j!.status).toBe("cancelled");
  expect(Object.values(j!.nodes).some(({ status }) => status === "running")).toBe(false);
});

it("a failure is told at its node, also from inside an expanded one", () => {
  const problem = { code: "node_failed", message: "no" };
  const { j } = withEvents({}, [...story, event("node_failed", { node: "b/inner", problem }), event("job_failed")]);

  expect(nodeRun(j, "b")).toEqual({ status: "failed", problem, preview: undefined });
  expect(nodeRun(j, "c")).toBeUndefined();
});

it("a node that uses a sub-workflow shows what the nodes inside have come to", () => {
  const inside = [event("node_cached", { node: "u/a" }), event("node_started", { node: "u/b/c" })];
  const { j } = withEvents(withEvents({}, story), inside);
  expect(nodeRun(j, "u")).toMatchObject({ status: "running" });
  expect(nodeRun(j, "u/b")).toMatchObject({ status: "running" });

  const rest = ["u/b/c", "u/b/d", "b"].map((node) => event("node_finished", { node, seconds: 2 }));
  const { j: later } = withEvents({ j: j! }, rest);
  expect(nodeRun(later, "u")).toBeUndefined();

  const { j: done } = withEvents({ j: later! }, [event("job_done")]);
  expect(nodeRun(done, "u")).toEqual({ status: "done", seconds: 4 });
  expect(nodeRun(done, "u")).toBe(nodeRun(done, "u"));
  expect(nodeRun(done, "w")).toBeUndefined();
});

const done = (job: string, ...nodes: string[]) => [
  event("job_running", { job }),
  ...nodes.map((node) => event("node_finished", { job, node, seconds: 1 })),
  event("job_done", { job }),
];

it("previews of jobs that ended long ago are let go, and no others", () => {
  const open = new Set<string>();
  let made = 0;
  vi.spyOn(URL, "createObjectURL").mockImplementation(() => (open.add(`blob:${++made}`), `blob:${made}`));
  vi.spyOn(URL, "revokeObjectURL").mockImplementation((url) => void open.delete(url));
  const { events, preview, trim } = useRuns.getState();
  for (let n = 0; n < 20; n++) {
    const job = `seen${n}`;
    events([event("job_running", { job })]);
    for (let step = 0; step < 5; step++) preview({ job, node: "a", step, picture: new Blob(["x"]) });
    events(done(job, "a"));
    preview({ job, node: "a", step: 9, picture: new Blob(["x"]) });
    trim(new Set());
  }

  expect([made, open.size]).toEqual([100, 8]);
  expect([...open]).toContain(useRuns.getState().runs.seen19!.nodes.a!.preview);
});

it("jobs that ended long ago are forgotten, unless a tab shows them", () => {
  let runs = {};
  for (let n = 0; n < 1000; n++) runs = withEvents(runs, done(`past${n}`));
  runs = withEvents(runs, [event("job_running", { job: "now" })]);

  const kept = trimmed(runs, new Set(["past3"]));
  expect([Object.keys(kept).length, "past3" in kept, "past999" in kept, "now" in kept]).toEqual([202, true, true, true]);
  expect(trimmed(kept, new Set(["past3"]))).toBe(kept);
});

it("what is inside of nodes is found once for a state, however many nodes ask", () => {
  const names = Array.from({ length: 500 }, (_, n) => [`n${n}`, `n${n}/x`, `n${n}/y/z`]).flat();
  const run = withEvents({}, [event("job_running", { job: "big" }), ...names.map((node) => event("node_started", { job: "big", node }))]).big!;
  let listed = 0;
  const nodes = new Proxy(run.nodes, { ownKeys: (target) => (listed++, Reflect.ownKeys(target)) });
  const watched = { ...run, nodes };

  expect(names.filter((id) => nodeRun(watched, id))).toHaveLength(1500);
  expect(nodeRun(watched, "n3/y")).toBe(nodeRun(watched, "n3/y/z"));
  expect(listed).toBe(1);
});

it("after a renumbering the events of the new journal count, and what is caught up with takes the place of parts", () => {
  const { events, renumber, caughtUp, gone } = useRuns.getState();
  events([{ ...event("job_running", { job: "r" }), number: 1_000_000 }]);
  events([{ ...event("job_done", { job: "r" }), number: 3 }]);
  expect(useRuns.getState().runs.r!.status).toBe("running");
  renumber();
  events([{ ...event("job_done", { job: "r" }), number: 3 }]);
  expect(useRuns.getState().runs.r!.status).toBe("done");

  const story = [event("job_running", { job: "c" }), event("node_finished", { job: "c", node: "a" }), event("node_started", { job: "c", node: "b" })];
  events(story.slice(2));
  caughtUp("c", story);
  expect(Object.keys(useRuns.getState().runs.c!.nodes)).toEqual(["a", "b"]);
  gone("c");
  gone("r");
  expect([useRuns.getState().runs.c!.status, useRuns.getState().runs.r!.status]).toEqual(["cancelled", "done"]);
});
