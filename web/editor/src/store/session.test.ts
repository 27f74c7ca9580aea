import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import { sample } from "../document/samples";
import { useCatalog } from "./catalog";
import { startSession } from "./session";
import { useWorkspace } from "./workspace";

let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  sessionStorage.clear();
  localStorage.clear();
  vi.stubGlobal("WebSocket", class { close() {} });
});
afterEach(() => {
  stop();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it("one document is checked at a time, and the newest last", async () => {
  const checked: string[] = [];
  let [under, most] = [0, 0];
  answering(async (request) => {
    if (!request.url.endsWith("/validate")) return json({ nodes: [], types: [], drafts: [], revision: 1 });
    most = Math.max(most, ++under);
    checked.push(((await request.json()) as { workflow: { name: string } }).workflow.name);
    await new Promise((done) => setTimeout(done, 2000));
    under--;
    return json({ problems: [], inputs: [], outputs: [] });
  });
  stop = startSession();
  const tab = useWorkspace.getState().open(sample());
  for (let n = 0; n < 8; n++) {
    tab.document.getState().edit((workflow) => ({ ...workflow, name: `n${n}` }));
    await vi.advanceTimersByTimeAsync(400);
  }
  await vi.advanceTimersByTimeAsync(10_000);

  expect([most, checked.at(-1), checked.length < 6]).toEqual([1, "n7", true]);
});

it("what fails keeps no other service from its work", async () => {
  const asked = answering(({ method, url }) => {
    if (url.endsWith("/system")) return json({ code: "no", message: "no", problems: [] }, 500);
    return json(method === "PUT" ? { revision: 1 } : { nodes: [], types: [], drafts: [], problems: [], inputs: [], outputs: [] });
  });
  stop = startSession();
  useWorkspace.getState().open({ ...sample(), name: "kept" });
  await vi.advanceTimersByTimeAsync(5000);

  expect(useCatalog.getState().ready).toBe(true);
  expect(asked.some(({ method, url }) => method === "PUT" && url.includes("/drafts/"))).toBe(true);
  expect(asked.filter(({ url }) => url.endsWith("/system")).length).toBeGreaterThan(1);
});
