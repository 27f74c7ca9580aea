import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import { sample } from "../document/samples";
import { useDrafts } from "./drafts";
import { keepTabs } from "./keeping";
import { useRuns } from "./runs";
import type { Tab } from "./workspace";
import { useWorkspace } from "./workspace";

let stop: () => void;
let tab: Tab;
const kept = () => localStorage.getItem(`latentloom.draft.${tab.id}`);
const notices = () => useWorkspace.getState().notices.map(({ text }) => text);
const rename = (name: string) => tab.document.getState().edit((workflow) => ({ ...workflow, name }));
const failure = (status: number) => json({ code: "no", message: `refused with ${status}`, problems: [] }, status);

beforeEach(() => {
  vi.useFakeTimers();
  localStorage.clear();
  sessionStorage.clear();
  useDrafts.setState({ drafts: [], held: new Map(), unanswered: new Map(), waiting: [] });
  useWorkspace.setState({ notices: [] });
  for (const { id } of useWorkspace.getState().tabs) useWorkspace.getState().close(id);
  tab = useWorkspace.getState().open(sample());
});
afterEach(() => {
  stop();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const puts = (asked: Request[]) => asked.filter(({ method, url }) => method === "PUT" && url.includes(tab.id));

it.each([401, 408, 429, 500, 502, 503])("a %d for a draft passes: it is sent again, less and less often", async (status) => {
  let down = true;
  const asked = answering(({ method }) => (method !== "PUT" ? json({ drafts: [] }) : down ? failure(status) : json({ revision: 1 })));
  stop = keepTabs();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(puts(asked).length).toBeGreaterThan(4);
  expect(puts(asked).length).toBeLessThan(12);
  expect(notices()).toEqual(["The server does not take your changes at the moment; they are kept in the browser until it does."]);

  dispatchEvent(new Event("pagehide"));
  expect(JSON.parse(kept() as string).workflow.name).toBe("Sample");
  down = false;
  await vi.advanceTimersByTimeAsync(31_000);
  expect([useDrafts.getState().held.get(tab.id)?.revision, kept()]).toEqual([1, null]);
});

it.each([400, 413, 422])("a %d is final: it is told once, and the text stays in the browser", async (status) => {
  const asked = answering(({ method }) => (method === "PUT" ? failure(status) : json({ drafts: [] })));
  stop = keepTabs();
  await vi.advanceTimersByTimeAsync(60_000);

  expect(puts(asked)).toHaveLength(1);
  expect(notices()).toEqual([`refused with ${status}`]);
  expect(JSON.parse(kept() as string).workflow.name).toBe("Sample");
});

it("a page that is hidden keeps in the browser what the server does not have", async () => {
  answering(() => undefined);
  stop = keepTabs();
  rename("潜");
  vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  dispatchEvent(new Event("visibilitychange"));

  expect(JSON.parse(kept() as string).workflow.name).toBe("潜");
});

it("what is sent after the window is gone is measured in bytes, as browsers do", async () => {
  const limits: boolean[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    if (request.method === "PUT") limits.push(request.keepalive);
    return json({ revision: 1, drafts: [] });
  });
  stop = keepTabs();
  for (const text of ["a".repeat(22_000), "潜".repeat(22_000)]) {
    rename(text);
    await vi.advanceTimersByTimeAsync(1000);
  }

  expect(limits).toEqual([true, false]);
});

it("drafts go at once when the server is back", async () => {
  let down = true;
  answering(({ method }) => (down ? undefined : json(method === "PUT" ? { revision: 1 } : { drafts: [] })));
  stop = keepTabs();
  await vi.advanceTimersByTimeAsync(60_000);
  useRuns.getState().connection(false);
  down = false;
  useRuns.getState().connection(true);
  await vi.advanceTimersByTimeAsync(1);

  expect(useDrafts.getState().held.get(tab.id)?.revision).toBe(1);
});

it("a closed tab that the server did not take waits for the next window", async () => {
  answering(() => failure(502));
  stop = keepTabs();
  await vi.advanceTimersByTimeAsync(1000);
  useWorkspace.getState().close(tab.id);
  await vi.advanceTimersByTimeAsync(1000);

  expect(JSON.parse(kept() as string).workflow.name).toBe("Sample");
});

it("an answer that was lost makes no second draft", async () => {
  let [revision, sent] = [0, {} as unknown];
  const asked = answering(async (request) => {
    if (request.method !== "PUT") return json(request.url.includes(tab.id) ? { revision, workflow: sent } : { drafts: [] });
    if (request.headers.get("If-Match") !== (revision ? `"${revision}"` : null)) return failure(412);
    revision++;
    sent = ((await request.json()) as { workflow: unknown }).workflow;
    return revision === 1 ? undefined : json({ revision });
  });
  const { id } = tab;
  stop = keepTabs();
  await vi.advanceTimersByTimeAsync(10_000);

  expect([useWorkspace.getState().tabs.at(-1)?.id, notices()]).toEqual([id, []]);
  expect(new Set(puts(asked).map(({ url }) => url)).size).toBe(1);
});

it("a fork changes the draft's id, and the view stays", () => {
  stop = () => undefined;
  useWorkspace.getState().renew(tab.id);
  const { id, view } = useWorkspace.getState().tabs.at(-1) as Tab;

  expect([id === tab.id, view]).toEqual([false, tab.view]);
});

it("a storage that is full breaks no editing", async () => {
  answering(({ method }) => json(method === "PUT" ? { revision: 1 } : { drafts: [] }));
  const full = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  for (const name of ["sessionStorage", "localStorage"]) vi.stubGlobal(name, { length: 0, getItem: full, setItem: full, removeItem: full });
  stop = keepTabs();
  let heard = 0;
  tab.document.subscribe(() => void heard++);
  rename("z");
  await vi.advanceTimersByTimeAsync(1000);
  dispatchEvent(new Event("pagehide"));

  expect([heard > 0, useDrafts.getState().held.get(tab.id)?.workflow?.name]).toEqual([true, "z"]);
});
