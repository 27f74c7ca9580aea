import { afterEach, expect, it, vi } from "vitest";
import { answering, json } from "../api/net";
import { moveNodes, setInput } from "../document/edit";
import { sample } from "../document/samples";
import { runOnChange, sameRun } from "./live";
import { useWorkspace } from "./workspace";

afterEach(() => void vi.unstubAllGlobals());

it("a place on the canvas is no change of what runs; a value is", () => {
  const workflow = sample();

  expect(sameRun(workflow, moveNodes(new Map([["load", { x: 1, y: 2 }]]))(workflow))).toBe(true);
  expect(sameRun(workflow, setInput("load", "image", "b.png")(workflow))).toBe(false);
});

it("what was checked without a problem is run once, and nothing else is", async () => {
  const ordered: string[] = [];
  answering(async (request) => {
    if (request.url.endsWith("/cancel")) return json({});
    if (!request.url.endsWith("/jobs")) return json({ steps: [] });
    ordered.push(((await request.json()) as { workflow: { name: string } }).workflow.name);
    return json({ id: `job${ordered.length}` });
  });
  const stop = runOnChange();
  const { document } = useWorkspace.getState().open({ ...sample(), name: "first" });
  const { set, edit } = document.getState();
  const fine = () => set({ checked: { problems: [], inputs: [], outputs: [] } });
  fine();
  set({ live: true });
  await vi.waitFor(() => expect(ordered).toEqual(["first"]));
  fine();
  edit((workflow) => ({ ...workflow, name: "second", nodes: { ...workflow.nodes } })); // runs the same
  fine();
  edit(setInput("load", "image", "c.png"));
  set({ checked: { problems: [{ code: "x", message: "x" } as never], inputs: [], outputs: [] } });
  edit((workflow) => ({ ...workflow, name: "third" }));
  fine();
  await vi.waitFor(() => expect(ordered).toEqual(["first", "third"]));
  set({ live: false });
  edit(setInput("load", "image", "d.png"));
  fine();
  stop();

  expect(ordered).toEqual(["first", "third"]);
});
