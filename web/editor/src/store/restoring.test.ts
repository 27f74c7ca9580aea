import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import { sample } from "../document/samples";
import { useDrafts } from "./drafts";
import { keepTabs } from "./keeping";
import { restoreTabs } from "./restoring";
import { activeTab, useWorkspace } from "./workspace";

let ended: AbortController;
let opened: string[];
const entry = (id: string, more = {}) => ({ id, jobs: [], source: null, clean: false, ...more });
const list = (...tabs: object[]) => JSON.stringify({ tabs, active: "good" });
const draft = (id: string) => json({ id, revision: 1, workflow: { ...sample(), name: id }, saved: 0 });
const idOf = ({ url }: Request) => url.split("/").pop() as string;
const names = () => useWorkspace.getState().tabs.map(({ document }) => document.getState().workflow.name);
const restore = () => restoreTabs(ended.signal, ({ id }) => void opened.push(id));

beforeEach(() => {
  vi.useFakeTimers();
  [ended, opened] = [new AbortController(), []];
  localStorage.clear();
  sessionStorage.clear();
  useDrafts.setState({ drafts: [], held: new Map(), unanswered: new Map(), waiting: [] });
  useWorkspace.setState({ notices: [] });
  for (const { id } of useWorkspace.getState().tabs) useWorkspace.getState().close(id);
});
afterEach(() => {
  ended.abort();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it("a tab that cannot be opened now keeps no other away, stays in the list, and comes later", async () => {
  sessionStorage.setItem("latentloom.tabs", list(entry("bad"), entry("good")));
  let down = true;
  answering((request) => (idOf(request) === "bad" && down ? json({}, 502) : draft(idOf(request))));
  void restore();
  const stop = keepTabs();
  await vi.advanceTimersByTimeAsync(800);
  expect([names(), opened, activeTab().id]).toEqual([["good"], ["good"], "good"]);
  expect(JSON.parse(sessionStorage.getItem("latentloom.tabs") as string).tabs.map(({ id }: { id: string }) => id)).toEqual(["bad", "good"]);

  down = false;
  await vi.advanceTimersByTimeAsync(5000);
  stop();
  expect([names(), opened, activeTab().id]).toEqual([["good", "bad"], ["good", "bad"], "good"]);
});

it("a tab that never can be opened is told, and the others come", async () => {
  sessionStorage.setItem("latentloom.tabs", list(entry("odd"), entry("good"), entry("gone")));
  answering((request) => {
    const id = idOf(request);
    if (id === "gone") return json({ code: "unknown_workflow", message: "", problems: [] }, 404);
    return id === "odd" ? json({ revision: 1, workflow: { format: "latentloom/1", nodes: { a: { type: "T", title: {} } } } }) : draft(id);
  });
  await restore();

  expect([names(), useDrafts.getState().waiting]).toEqual([["good"], []]);
  expect(useWorkspace.getState().notices.map(({ detail }) => detail)).toEqual([
    "This is not a workflow in the format latentloom/1: nodes.a.title is wrong",
  ]);
});

it.each(["{", "7", '{"tabs": 3}', '{"tabs": [null, {"id": 1}, {"id": "good"}]}'])("a list like %s breaks nothing", async (text) => {
  sessionStorage.setItem("latentloom.tabs", text);
  localStorage.setItem("latentloom.draft.odd", text);
  answering((request) => draft(idOf(request)));
  await restore();

  expect(useWorkspace.getState().notices).toEqual([]);
});

it("a tab that one works in stays in front", async () => {
  sessionStorage.setItem("latentloom.tabs", list(entry("good")));
  let down = true;
  answering((request) => (down ? undefined : draft(idOf(request))));
  void restore();
  await vi.advanceTimersByTimeAsync(100);
  const mine = useWorkspace.getState().open({ ...sample(), name: "mine" });
  mine.document.getState().edit((workflow) => ({ ...workflow, name: "mine too" }));
  down = false;
  await vi.advanceTimersByTimeAsync(5000);

  expect([names(), activeTab().id]).toEqual([["mine too", "good"], mine.id]);
});
