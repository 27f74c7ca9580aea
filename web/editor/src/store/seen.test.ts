import { expect, it } from "vitest";
import type { Problem } from "../api/client";
import { setInput } from "../document/edit";
import { pack } from "../document/packing";
import { sample } from "../document/samples";
import { createDocument, pathOf } from "./opened";
import { seen } from "./seen";

function packed() {
  const store = createDocument(sample());
  store.getState().edit(pack(new Set(["invert"]), "inner", "use"));
  return store;
}

it("edits inside and outside share one history", () => {
  const store = packed();
  store.getState().goTo(["use"]);
  seen(store.getState()).edit(setInput("invert", "amount", 0.9));
  expect(seen(store.getState()).workflow.nodes.invert?.inputs.amount).toBe(0.9);

  store.temporal.getState().undo();

  expect(seen(store.getState()).workflow.nodes.invert?.inputs.amount).toBe(0.5);
  expect(pathOf(store.getState())).toEqual(["use"]);
});

it("undo of the packing leaves the sub-workflow that is open", () => {
  const store = packed();
  store.getState().goTo(["use"]);

  store.temporal.getState().undo();

  expect(pathOf(store.getState())).toEqual([]);
  expect(seen(store.getState()).workflow.nodes).toHaveProperty("invert");
});

it("the way back shows what was shown, with the node selected", () => {
  const store = packed();
  const viewport = { x: 1, y: 2, zoom: 0.5 };
  store.getState().set({ viewport });
  store.getState().goTo(["use"]);
  expect(store.getState().viewport).toBe(null);
  store.getState().set({ viewport: { x: 0, y: 0, zoom: 2 } });

  store.getState().goTo([]);

  expect(store.getState().viewport).toEqual(viewport);
  expect([...store.getState().selection]).toEqual(["use"]);
});

it("going in and out is no step of undo", () => {
  const store = packed();
  const before = store.temporal.getState().pastStates.length;

  store.getState().goTo(["use"]);
  store.getState().goTo([]);

  expect(store.temporal.getState().pastStates).toHaveLength(before);
});

it("a path that leads nowhere opens nothing", () => {
  const store = packed();

  store.getState().goTo(["load"]);

  expect(pathOf(store.getState())).toEqual([]);
  expect(seen(store.getState())).toBe(store.getState());
});

it("problems inside stand at the nodes inside, those outside at none", () => {
  const store = packed();
  const problem = (node: string) => ({ node, input: "amount", code: "x", message: node }) as Problem;
  store.getState().set({ checked: { problems: [problem("use/invert"), problem("save"), problem("user/x")], inputs: [], outputs: [] } });
  store.getState().goTo(["use"]);

  expect(seen(store.getState()).checked.problems.map(({ node }) => node)).toEqual(["invert"]);
  expect(seen(store.getState())).toBe(seen(store.getState()));
});
