import { expect, it } from "vitest";
import { chain, moveNodes, setInput } from "./edit";
import { sample } from "./samples";
import { isAsBefore } from "./upstream";

it("a change counts for the nodes behind it, not for those before it, and a move for none", () => {
  const before = sample();
  const now = setInput("invert", "amount", 0.25)(before);
  const moved = moveNodes(new Map([["load", { x: 9, y: 9 }]]))(before);

  expect(Object.keys(before.nodes).filter((id) => isAsBefore(before, now, id))).toEqual(["load"]);
  expect(Object.keys(before.nodes).every((id) => isAsBefore(before, moved, id))).toBe(true);
});

it("what is inside of a sub-workflow counts for its use", () => {
  const graph = { name: "g", inputs: [], outputs: [], nodes: {}, layout: { nodes: {}, groups: [], notes: [] } };
  const before = { ...sample(), graphs: { g: graph } };
  before.nodes = { ...before.nodes, use: { type: "graph/g", version: 1, inputs: {} } };
  const now = chain(() => ({ ...before, graphs: { g: { ...graph, name: "h" } } }))(before);

  expect([isAsBefore(before, now, "use"), isAsBefore(before, now, "load")]).toEqual([false, true]);
});
