import { expect, it } from "vitest";
import { chain, setInput } from "./edit";
import { recall } from "./recall";
import { edge, input, node, output, spec } from "./samples";
import type { Workflow } from "./types";
import { emptyWorkflow } from "./types";

const SPECS = new Map(
  [
    spec("Text", [input("text", "STRING", { widget: "multiline" }), input("skip", "INT")], [output("text", "STRING")]),
    spec("Sample", [input("seed", "INT", { widget: "seed" }), input("steps", "INT"), input("on", "STRING")], []),
  ].map((one) => [one.type, one]),
);

const named = (name: string, id: string, port: string) => ({ name, to: [{ node: id, input: port }] });

const made: Workflow = {
  ...emptyWorkflow("made"),
  inputs: [named("prompt", "positive", "text")],
  nodes: {
    positive: node("Text", { text: "a star", skip: 2 }),
    negative: node("Text", { text: "blur" }),
    sample: node("Sample", { seed: 7, steps: 9, on: edge("positive", "text") }),
  },
};

it("values go to the named input, the same node, or the only one of its type", () => {
  const here: Workflow = {
    ...emptyWorkflow(),
    inputs: [named("prompt", "words", "text")],
    nodes: { words: node("Text", { text: "" }), negative: node("Text"), other: node("Sample", { seed: "random" }) },
  };
  const { edit, placed, left } = recall(made, here, SPECS, "all");

  expect(edit(here).nodes).toEqual({
    words: node("Text", { text: "a star" }),
    negative: node("Text", { text: "blur" }),
    other: node("Sample", { seed: 7, steps: 9 }),
  });
  expect([placed, left]).toEqual([4, 1]); // `skip` of a node that is not here
});

it("only texts, or only seeds", () => {
  const here = chain(setInput("sample", "seed", 1), setInput("positive", "text", "a moon"))(made);

  expect(recall(made, here, SPECS, "seed").edit(here).nodes).toEqual({ ...here.nodes, sample: made.nodes.sample });
  expect(recall(made, here, SPECS, "prompt").edit(here).nodes).toEqual({ ...here.nodes, positive: made.nodes.positive });
});

it("an edge is not replaced by a value, and what has no place is counted", () => {
  const here = setInput("negative", "text", edge("positive", "text"))(made);

  expect(recall(made, here, SPECS, "prompt")).toMatchObject({ placed: 1, left: 1 });
  expect(recall(made, emptyWorkflow(), SPECS, "seed")).toMatchObject({ placed: 0, left: 1 });
});

it("only what the form asks for", () => {
  const form = { inputs: [{ name: "seed", to: [{ node: "sample", input: "seed" }] }] };
  const here = { ...chain(setInput("sample", "seed", 1), setInput("positive", "text", "a moon"))(made), ...form };

  expect(recall({ ...made, ...form }, here, SPECS, "form")).toMatchObject({ placed: 1, left: 0 });
  expect(recall({ ...made, ...form }, here, SPECS, "form").edit(here).nodes).toEqual({ ...here.nodes, sample: made.nodes.sample });
});
