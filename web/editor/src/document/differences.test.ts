import { expect, it } from "vitest";
import { differences, same } from "./differences";
import { addNode, moveNodes, removeNodes, setInput } from "./edit";
import { sample } from "./samples";

it("nodes that came, went and changed are told; places do not count", () => {
  const before = sample();
  const [first, second] = Object.keys(before.nodes) as [string, string];
  const added = addNode("new", { type: "Note", version: 1, inputs: {} }, { x: 0, y: 0 })(before);

  expect(differences(before, added)).toEqual({ added: ["new"], removed: [], changed: [], rest: false });
  expect(differences(before, setInput(first, "x", 3)(before)).changed).toEqual([first]);
  expect(differences(before, removeNodes(new Set([second]))(before)).removed).toEqual([second]);
  expect(differences(before, moveNodes(new Map([[first, { x: 900, y: 9 }]]))(before))).toEqual({
    added: [],
    removed: [],
    changed: [],
    rest: false,
  });
  expect(differences(before, { ...before, name: "other" }).rest).toBe(true);
});

it("the order of keys makes no difference", () => {
  const { format, name, ...rest } = sample();

  expect(same(sample(), { ...rest, name, format })).toBe(true);
  expect(same(sample(), { ...sample(), name: "other" })).toBe(false);
});
