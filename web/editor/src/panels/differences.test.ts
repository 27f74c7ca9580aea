import { expect, it } from "vitest";
import { en } from "../strings/en";
import { linesOf } from "./differences";

const words = en.panels.library.differences;
const NONE = {
  same_results: true,
  added: [],
  removed: [],
  changed: [],
  inputs: [],
  outputs: [],
  renamed: [],
  name: null,
  layout: false,
};

it("every kind of difference is a line, with both values", () => {
  const found = {
    ...NONE,
    added: [{ node: "lora", type: "LoadLora" }],
    changed: [
      {
        node: "sample",
        type: "KSampler",
        inputs: [
          { name: "steps", before: 9, after: 5 },
          { name: "model", before: { node: "load", output: "model" }, after: { node: "lora", output: "model" } },
        ],
        properties: [{ name: "title", before: null, after: "Draw" }],
      },
    ],
    inputs: [{ name: "size", before: null, after: [{ node: "empty", input: "width" }] }],
    renamed: [{ before: "a", after: "b" }],
    layout: true,
  };
  expect(linesOf(found, words)).toEqual([
    "only here lora",
    "sample.steps: 9 → 5",
    "sample.model: load.model → lora.model",
    "sample.title: – → Draw",
    "form input size: – → empty.width",
    "a is called b here",
    "positions, notes or groups differ",
  ]);
  expect(linesOf(NONE, words)).toEqual([]);
});

it("of many differences the first are shown, and how many more there are", () => {
  const renamed = Array.from({ length: 30 }, (_, n) => ({ before: `a${n}`, after: `b${n}` }));
  const lines = linesOf({ ...NONE, renamed }, words);
  expect(lines).toHaveLength(21);
  expect(lines[20]).toBe("and 10 more");
});
