import { expect, test } from "vitest";
import type { NodeSpec } from "../api/client";
import type { Defaults } from "./defaults";
import { applyDefaults, shownDefaults } from "./defaults";
import type { Workflow, WorkflowNode } from "./types";

type Port = { name: string; kind: string; default?: unknown };
const spec = (type: string, ...inputs: Port[]) => ({ type, inputs }) as unknown as NodeSpec;
const MODEL = { name: "model", kind: "MODEL" };
const SPECS = new Map(
  [
    spec("Load", { name: "checkpoint", kind: "MODEL_FILE" }),
    spec("Lora", MODEL),
    spec("Sample", MODEL, { name: "latent", kind: "LATENT" }, { name: "steps", kind: "INT", default: 20 }, { name: "cfg", kind: "FLOAT", default: 7 }),
    spec("Empty", { name: "width", kind: "INT", default: 512 }, { name: "height", kind: "INT", default: 512 }),
    spec("Scale", { name: "latent", kind: "LATENT" }, { name: "width", kind: "INT", default: 1024 }),
    spec("Encode", { name: "image", kind: "IMAGE" }),
  ].map((one) => [one.type, one]),
);
const edge = (node: string) => ({ node, output: "out" });
const node = (type: string, inputs: Record<string, unknown> = {}): WorkflowNode => ({ type, version: 1, inputs });
const SUITS: Defaults = { steps: 4, cfg: 1.5, sampler: "euler", schedule: null, width: 1024, height: 768 };

function applied(nodes: Record<string, WorkflowNode>): Workflow["nodes"] {
  const workflow: Workflow = { format: "latentloom/1", name: "", inputs: [], outputs: [], nodes, layout: { nodes: {}, groups: [], notes: [] } };
  return applyDefaults(SPECS, "load", SUITS)(workflow).nodes;
}

test("the settings go to the samplers of the model, its size to the empty latents that they start from", () => {
  const nodes = {
    load: node("Load"),
    lora: node("Lora", { model: edge("load") }),
    empty: node("Empty", { width: 512 }),
    scale: node("Scale", { latent: edge("sample"), width: 2048 }),
    sample: node("Sample", { model: edge("lora"), latent: edge("empty"), steps: 20 }),
    again: node("Sample", { model: edge("lora"), latent: edge("scale") }),
    other: node("Sample", { steps: 30 }),
  };
  const after = applied(nodes);
  expect(after.sample?.inputs).toMatchObject({ steps: 4, cfg: 1.5 });
  expect(after.again?.inputs).toMatchObject({ steps: 4, cfg: 1.5 });
  expect(after.empty?.inputs).toEqual({ width: 1024, height: 768 });
  expect([after.other, after.scale, after.lora]).toEqual([nodes.other, nodes.scale, nodes.lora]);
});

test("an edge stays, an encoded picture keeps its size, and a circle ends", () => {
  const nodes = {
    load: node("Load"),
    picture: node("Encode"),
    sample: node("Sample", { model: edge("load"), latent: edge("picture"), steps: edge("number"), cfg: 1.5 }),
    one: node("Sample", { model: edge("load"), latent: edge("two"), steps: 4, cfg: 1.5 }),
    two: node("Sample", { model: edge("one"), latent: edge("one"), steps: 4, cfg: 1.5 }),
  };
  expect(applied(nodes)).toEqual(nodes);
});

test("what already suits leaves the document as it is", () => {
  const nodes = { load: node("Load"), sample: node("Sample", { model: edge("load"), steps: 4, cfg: 1.5 }) };
  expect(applied(nodes)).toBe(nodes);
});

test("settings are told in one line", () => {
  expect(shownDefaults(SUITS)).toBe("steps 4, cfg 1.5, sampler euler, 1024 × 768");
  expect(shownDefaults({})).toBe("");
});
