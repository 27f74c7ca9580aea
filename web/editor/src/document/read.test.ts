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

const target = { node: "a", input: "x" };

it.each([
  ["nodes.a.title", { nodes: { a: { type: "T", title: { en: "x" } } } }],
  ["nodes.a.mode", { nodes: { a: { type: "T", mode: "off" } } }],
  ["nodes.a.each", { nodes: { a: { type: "T", each: "text" } } }],
  ["nodes.a.on_error", { nodes: { a: { type: "T", on_error: 1 } } }],
  ["inputs", { inputs: { name: "x" } }],
  ["inputs[1]", { inputs: [{ name: "x", to: [target] }, { name: "y" }] }],
  ["inputs[0]", { inputs: [{ name: "x", to: [{ ...target, item: "1" }] }] }],
  ["outputs[0]", { outputs: [{ name: "x", from: "a" }] }],
])("a document whose %s is odd is refused with the place", (place, data) => {
  expect(() => read({ format: "latentloom/1", ...data })).toThrow(new NotAWorkflow(place));
  expect(() => read({ format: "latentloom/1", graphs: { g: data } })).toThrow(NotAWorkflow);
  expect(new NotAWorkflow(place).message).toContain(place);
});

it("takes null for left out, and gives odd parts of the layout their plainest value", () => {
  const odd = { x: 0, y: 0, width: "wide", height: null };
  const made = read({
    format: "latentloom/1",
    inputs: null,
    nodes: { a: { type: "T", title: null, mode: null } },
    layout: { groups: [{ ...odd, title: [1] }], notes: [{ ...odd, text: {} }] },
  });

  expect(made.nodes.a).toEqual({ type: "T", version: 1, inputs: {} });
  expect(made.layout.groups).toEqual([{ id: "1", title: "", x: 0, y: 0, width: 240, height: 140 }]);
  expect(made.layout.notes[0]).toMatchObject({ text: "", width: 240 });
});
