import { expect, it } from "vitest";
import { depthsOf, NotAWorkflow, read } from "./read";
import { edge, node, sample } from "./samples";
import { isEdge, unwrapped, wrapped } from "./types";
import { write } from "./write";

it("what was written reads the same", () => {
  expect(read(JSON.parse(write(sample())))).toEqual(sample());
});

it("writes with sorted keys, as the engine does", () => {
  expect(write({ ...sample(), nodes: {} }).split("\n")[1]).toBe('  "format": "latentloom/1",');
});

it("keeps what it does not know: unknown types, extra, and other tools' layout", () => {
  const data = {
    format: "latentloom/1",
    nodes: { odd: { type: "gone/Glow", version: 3, inputs: { a: { literal: { deep: [1] } } }, extra: { tool: 1 } } },
    layout: { nodes: { odd: { x: 1, y: 2, colour: "red" } }, other: { zoom: 2 } },
    extra: { who: "me" },
    graphs: { block: { name: "Block", nodes: {}, inputs: [], outputs: [], layout: { nodes: {}, groups: [], notes: [] } } },
  };

  const made = read(data);

  expect(made.nodes.odd).toEqual(data.nodes.odd);
  expect(made.layout).toMatchObject(data.layout);
  expect(made.extra).toEqual({ who: "me" });
  expect(made.graphs).toEqual(data.graphs);
});

it.each([null, [], "text", {}, { format: "latentloom/2" }, { format: "latentloom/1", nodes: [] }])("%j is no workflow", (data) => {
  expect(() => read(data)).toThrow(NotAWorkflow);
});

it("gives nodes without a place one, to the right of what they need", () => {
  const { layout } = read({ ...sample(), layout: null });

  expect(layout.nodes.load).toEqual({ x: 0, y: 0 });
  expect(layout.nodes.save!.x).toBeGreaterThan(layout.nodes.invert!.x);
  expect(new Set(Object.values(layout.nodes).map(({ x, y }) => `${x},${y}`)).size).toBe(4);
});

it("forgets places of nodes that are gone", () => {
  expect(Object.keys(read({ ...sample(), layout: { nodes: { ghost: { x: 0, y: 0 } } } }).layout.nodes)).not.toContain("ghost");
});

it("survives a circle", () => {
  const nodes = { a: node("Invert", { image: edge("b", "image") }), b: node("Invert", { image: edge("a", "image") }) };

  expect(depthsOf(nodes).size).toBe(2);
});

it("tells edges from values, and wraps the values that look like edges", () => {
  expect(isEdge({ node: "a", output: "b" })).toBe(true);
  expect(isEdge({ node: "a", output: "b", more: 1 })).toBe(false);
  for (const value of [1, "x", null, [1, 2], { node: "a", output: "b" }, [{ a: 1 }, 2], { literal: 1 }])
    expect(unwrapped(wrapped(value))).toEqual(value);
  expect(isEdge(wrapped({ node: "a", output: "b" }))).toBe(false);
});
