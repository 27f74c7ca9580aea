import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import { sample } from "../document/samples";
import { run, runTab } from "./running";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

let tab: Tab;
const notices = () => useWorkspace.getState().notices.map(({ text }) => text);
const orders = (asked: Request[]) => asked.filter(({ url }) => url.endsWith("/jobs"));
const keys = (asked: Request[]) =>
  Promise.all(orders(asked).map(async (request) => ((await request.json()) as { idempotency_key: string }).idempotency_key));

beforeEach(() => {
  vi.useFakeTimers();
  useWorkspace.setState({ notices: [] });
  tab = useWorkspace.getState().open(sample());
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it("an order whose answer was lost is sent again with the same key; another run has another", async () => {
  let n = 0;
  const asked = answering(({ url }) => (url.endsWith("/jobs") ? (++n === 1 ? undefined : json({ id: `job${n}` })) : json({ steps: [] })));
  const first = run(tab);
  await vi.advanceTimersByTimeAsync(2000);
  await run(tab);

  const [lost, again, next] = await keys(asked);
  expect([await first, lost === again, lost === next]).toEqual(["job2", true, false]);
});

it.each([
  ["The server is away. Nothing was queued.", new TypeError("Failed to fetch")],
  ["The server did not answer in time. Look in the queue whether the job is there.", new DOMException("", "TimeoutError")],
])("%s", async (words, error) => {
  answering(() => Promise.reject(error));
  void run(tab);
  await vi.advanceTimersByTimeAsync(2000);

  expect(notices()).toEqual([words]);
});

it("all problems are told, and shown", async () => {
  const problems = ["a", "b"].map((node) => ({ code: "c", message: `no ${node}`, node }));
  answering(() => json({ code: "invalid_workflow", message: "no a", problems }, 422));
  await run(tab);

  expect(notices()).toEqual(["The workflow has 2 problems. Nothing was queued."]);
  expect(useWorkspace.getState().panels.right).toBe("problems");
  expect(tab.document.getState().checked.problems).toEqual(problems);
});

it("impatient presses make no further jobs", async () => {
  const asked = answering(async () => {
    await new Promise((done) => setTimeout(done, 100));
    return json({ id: "job", steps: [] });
  });
  for (let n = 0; n < 3; n++) void runTab(tab);
  expect(tab.document.getState().ordering).toBe(true);
  await vi.advanceTimersByTimeAsync(1000);

  expect([orders(asked).length, tab.document.getState().ordering]).toEqual([1, false]);
});
