import { expect, it } from "vitest";
import { blockOf, originOf, renew } from "./blocks";
import { paste } from "./clip";
import { edge, node, sample } from "./samples";
import type { Workflow } from "./types";

const ORIGIN = { name: "My block (2)", version: 3 };
const saved = (): Workflow => ({ ...sample(), inputs: [{ name: "amount", to: [{ node: "invert", input: "amount" }] }] });
const inserted = (workflow: Workflow) => paste(workflow, blockOf(saved(), ORIGIN), { x: 5, y: 6 }, false).edit(workflow);

it("a saved workflow becomes a node that uses a copy of it", () => {
  const made = inserted(sample());

  expect(made.nodes["my-block-2"]).toEqual({ type: "graph/My-block-2", version: 1, inputs: {} });
  expect(made.layout.nodes["my-block-2"]).toEqual({ x: 5, y: 6 });
  const graph = made.graphs?.["My-block-2"];
  expect(graph?.nodes).toEqual(sample().nodes);
  expect(graph && originOf(graph)).toEqual(ORIGIN);
});

it("a newer version takes the place of the copy for every use, and brings its own sub-workflows", () => {
  const before = inserted(sample());
  const uses = { ...before.nodes, again: { type: "graph/My-block-2", version: 1, inputs: { amount: edge("number", "value") } } };
  const newer = blockOf({ ...saved(), nodes: { only: node("Invert") } }, { name: "inner", version: 1 });

  const after = renew("My-block-2", newer, { ...ORIGIN, version: 4 })({ ...before, nodes: uses });

  expect(after.nodes).toEqual(uses);
  expect(Object.keys(after.graphs ?? {}).sort()).toEqual(["My-block-2", "inner"]);
  const graph = after.graphs?.["My-block-2"];
  expect(graph && originOf(graph)?.version).toBe(4);
  expect(graph?.nodes).toEqual({ inner: { type: "graph/inner", version: 1, inputs: {} } });
});

it("a sub-workflow without an origin, or with a broken one, has none", () => {
  const graph = { name: "", inputs: [], outputs: [], nodes: {}, layout: sample().layout };

  expect(originOf(graph)).toBeUndefined();
  expect(originOf({ ...graph, extra: { origin: { name: 5 } } })).toBeUndefined();
  expect(originOf({ ...graph, extra: "text" })).toBeUndefined();
});
