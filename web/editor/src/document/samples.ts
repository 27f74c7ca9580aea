/** Node types and documents for tests. */

import type { InputPort, NodeSpec, OutputPort } from "../api/client";
import type { Workflow, WorkflowNode } from "./types";
import { emptyWorkflow } from "./types";
import type { Specs } from "./wiring";

export function input(name: string, kind: string, more: Partial<InputPort> = {}): InputPort {
  return {
    name,
    kind,
    required: true,
    default: null,
    optional: false,
    is_list: false,
    lazy: false,
    minimum: null,
    maximum: null,
    multiple_of: null,
    min_length: null,
    max_length: null,
    choices: [],
    source: null,
    mentions: null,
    widget: null,
    advanced: false,
    help: "",
    ...more,
  };
}

export const output = (name: string, kind: string, is_list = false): OutputPort => ({ name, kind, is_list });

export function spec(type: string, inputs: InputPort[], outputs: OutputPort[], category = "test"): NodeSpec {
  return {
    type,
    version: 1,
    category,
    display_name: "",
    aliases: [],
    deprecated: "",
    help: `What ${type} is for.`,
    purity: "pure",
    device: false,
    asynchronous: false,
    inputs,
    outputs,
    distribution: "test 1.0",
  };
}

export const SPECS: Specs = new Map(
  [
    spec("Load", [input("file", "FILE")], [output("image", "IMAGE"), output("mask", "MASK")]),
    spec("Invert", [input("image", "IMAGE"), input("amount", "FLOAT", { required: false, default: 1 })], [output("image", "IMAGE")]),
    spec("Blur", [input("picture", "IMAGE"), input("amount", "FLOAT", { required: false, default: 2 })], [output("image", "IMAGE")]),
    spec("Grid", [input("images", "IMAGE", { is_list: true })], [output("image", "IMAGE")]),
    spec("Save", [input("images", "IMAGE")], []),
    spec("Number", [input("value", "INT")], [output("value", "INT")]),
  ].map((item) => [item.type, item]),
);

export const edge = (node: string, output: string) => ({ node, output });

export const node = (type: string, inputs: Record<string, unknown> = {}): WorkflowNode => ({ type, version: 1, inputs });

/** Load -> Invert -> Save, and a Grid of the first two. */
export function sample(): Workflow {
  const nodes = {
    load: node("Load", { file: "cat.png" }),
    invert: node("Invert", { image: edge("load", "image"), amount: 0.5 }),
    save: node("Save", { images: edge("invert", "image") }),
    grid: node("Grid", { images: [edge("load", "image"), edge("invert", "image")] }),
  };
  const ids = Object.keys(nodes);
  return {
    ...emptyWorkflow("Sample"),
    inputs: [{ name: "amount", to: [{ node: "invert", input: "amount" }] }],
    outputs: [{ name: "image", from: edge("invert", "image") }],
    nodes,
    layout: { nodes: Object.fromEntries(ids.map((id, n) => [id, { x: 300 * n, y: 0 }])), groups: [], notes: [] },
  };
}
