import { expect, it } from "vitest";
import { fixOf } from "./fixes";
import { SPECS, edge, sample } from "./samples";

const problem = { code: "unknown_choice", node: "invert", input: "amount", nearest: "euler" };
const fixed = (change: object) => fixOf(sample(), SPECS, {}, { ...problem, ...change })?.(sample());

it("a nearest value takes the place of an unknown one", () => {
  expect(fixed({})?.nodes.invert?.inputs.amount).toBe("euler");
  expect(fixed({ code: "missing_file" })?.nodes.invert?.inputs.amount).toBe("euler");
});

it("a nearest node type takes the place of an unknown one, with its edges", () => {
  const changed = fixed({ code: "unknown_node_type", input: undefined, nearest: "Blur" });

  expect(changed?.nodes.invert?.type).toBe("Blur");
  expect(changed?.nodes.invert?.inputs.picture).toEqual(edge("load", "image"));
});

it("without a nearest name, a known node or a known way there is no fix", () => {
  expect(fixed({ nearest: undefined })).toBeUndefined();
  expect(fixed({ node: "outer/inner" })).toBeUndefined();
  expect(fixed({ code: "unknown_input" })).toBeUndefined();
  expect(fixed({ code: "unknown_node_type", nearest: "NotInstalled" })).toBeUndefined();
});
