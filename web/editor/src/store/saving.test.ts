import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import { sample } from "../document/samples";
import { save } from "./library";
import { useQuestion } from "./question";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

let tab: Tab;
let server: { version: number; workflow: unknown };
const state = () => tab.document.getState();
const edit = (id: string) => state().edit((workflow) => ({ ...workflow, nodes: { ...workflow.nodes, [id]: { type: "T", version: 1, inputs: {} } } }));

/** A server with one workflow; `lose`: whether an answer gets lost. */
function serve(lose = false) {
  answering(async (request) => {
    if (!request.url.endsWith("workflows/A")) return json({ workflows: [] });
    if (request.method !== "PUT") return json({ name: "A", ...server, saved: 0 });
    await new Promise((done) => setTimeout(done, 10));
    if (request.headers.get("If-Match") !== `"${server.version}"`) return json({ code: "conflict", message: "x", problems: [] }, 412);
    server = { version: server.version + 1, workflow: ((await request.json()) as { workflow: unknown }).workflow };
    return lose ? undefined : json({ name: "A", version: server.version, saved: 0 });
  });
}

beforeEach(() => {
  server = { version: 1, workflow: sample() };
  tab = useWorkspace.getState().open(sample());
  state().set({ source: { name: "A", version: 1 } });
});
afterEach(() => {
  expect(useQuestion.getState().question).toBeNull();
  vi.unstubAllGlobals();
});

it("two quick saves make one version and no conflict", async () => {
  serve();
  edit("a");

  expect(await Promise.all([save(tab), save(tab)])).toEqual([true, true]);
  expect([server.version, state().source?.version]).toEqual([2, 2]);
});

it("what is changed while a save is under way is saved by the next", async () => {
  serve();
  edit("a");
  const first = save(tab);
  await new Promise((done) => setTimeout(done, 1));
  edit("b");

  expect(await Promise.all([first, save(tab)])).toEqual([true, true]);
  expect(server.version).toBe(3);
  expect(server.workflow).toMatchObject({ nodes: { b: {} } });
});

it("a save whose answer was lost is no conflict with somebody else", async () => {
  serve(true);
  edit("a");
  expect(await save(tab)).toBe(false);
  serve();

  expect(await save(tab)).toBe(true);
  expect([server.version, state().source?.version, state().saved === state().workflow]).toEqual([2, 2, true]);
});

it("the first undo after a save takes the last edit back, not the name", async () => {
  serve();
  edit("a");
  await save(tab);
  tab.document.temporal.getState().undo();

  expect([state().workflow.name, "a" in state().workflow.nodes]).toEqual(["A", false]);
});
