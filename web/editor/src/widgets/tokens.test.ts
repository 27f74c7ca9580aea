import { expect, test } from "vitest";
import type { NodeSpec } from "../api/client";
import type { WorkflowNode } from "../document/types";
import { countOf, readerOf } from "./tokens";

const spec = (type: string, ...inputs: { name: string; kind: string; source?: string }[]) =>
  ({ type, inputs: inputs.map((port) => ({ source: null, ...port })) }) as unknown as NodeSpec;

const CLIP = { name: "clip", kind: "CLIP" };
const SPECS = new Map(
  [
    spec("Load", { name: "checkpoint", kind: "MODEL_FILE", source: "models/checkpoints" }),
    spec("Lora", { name: "lora", kind: "MODEL_FILE", source: "models/loras" }, CLIP),
    spec("Encode", CLIP),
  ].map((spec) => [spec.type, spec]),
);

const node = (type: string, inputs: Record<string, unknown>): WorkflowNode => ({ type, version: 1, inputs });
const from = (node: string) => ({ clip: { node, output: "clip" } });

test("a prompt's model is found through the nodes that pass its CLIP on", () => {
  const nodes = { a: node("Load", { checkpoint: "shapes" }), b: node("Lora", { lora: "x", ...from("a") }), c: node("Encode", from("b")) };
  expect(readerOf(nodes, SPECS, "c")).toEqual({ source: "models/checkpoints", name: "shapes" });
});

test("a circle, an unknown type and an open input have no model", () => {
  const nodes = { a: node("Lora", from("b")), b: node("Lora", from("a")), c: node("Strange", {}), d: node("Encode", from("c")), e: node("Encode", {}) };
  expect(["a", "d", "e", "gone"].map((id) => readerOf(nodes, SPECS, id))).toEqual([null, null, null, null]);
});

test("the parts of the first variant are counted, without start and end", () => {
  const part = { start: 0, end: 0.5, turn: 0, period: 1, tokens: [] };
  const parts = [
    { ...part, count: 77, tokens: [{ text: " qwx", known: false }, { text: "red", known: true }] },
    { ...part, count: 12 },
    { ...part, start: 0.5, end: 1, count: 30 },
  ];
  expect(countOf({ length: 77, parts })).toEqual({ used: 85, room: 150, parts: 2, unknown: ["qwx"] });
  expect(countOf({ length: 77, parts: [] })).toBeNull();
});
