import { expect, it } from "vitest";
import { specOf } from "./graphs";
import { setCarry, setRole, toggleCollect, toggleRepeat } from "./repeat";
import { input, node, output, sample, spec } from "./samples";
import type { Workflow } from "./types";

const grow = spec(
  "Grow",
  [input("image", "IMAGE"), input("amount", "FLOAT"), input("n", "INT")],
  [output("image", "IMAGE"), output("amount", "STRING"), output("enough", "BOOLEAN"), output("list", "IMAGE", true)],
);
const before: Workflow = { ...sample(), nodes: { ...sample().nodes, grow: node("Grow", { n: 1 }) } };
const on = toggleRepeat("grow", grow)(before);

it("a repeated node carries outputs to inputs of the same name that take them", () => {
  expect(on.nodes.grow).toEqual({ ...node("Grow", { n: 1, turns: 2 }), repeat: { carry: { image: "image" } } });
});

it("a node that is no longer repeated has no input for the turns, and nothing leads to it", () => {
  const to = [{ node: "grow", input: "turns" }];
  const named = { ...on, inputs: [{ name: "turns", to }, { name: "n", to: [{ node: "grow", input: "n" }, ...to] }] };
  const each = { ...named, nodes: { ...named.nodes, grow: { ...named.nodes.grow!, each: ["turns"] } } };

  const off = toggleRepeat("grow", grow)(each);

  expect(off.nodes.grow).toEqual(node("Grow", { n: 1 }));
  expect(off.inputs).toEqual([{ name: "n", to: [{ node: "grow", input: "n" }] }]);
});

it("pairs, lists, the condition and the number are set and taken away", () => {
  const set = [setCarry("grow", "amount", "image"), toggleCollect("grow", "image"), setRole("grow", "until", "enough"), setRole("grow", "number", "n")];
  const all = set.reduce((done, edit) => edit(done), on);
  expect(all.nodes.grow?.repeat).toEqual({ carry: { image: "image", amount: "image" }, collect: ["image"], until: "enough", number: "n" });

  const unset = [setCarry("grow", "amount", null), toggleCollect("grow", "image"), setRole("grow", "until", null), setRole("grow", "number", null)];
  expect(unset.reduce((done, edit) => edit(done), all).nodes.grow).toEqual(on.nodes.grow);
  expect(setCarry("load", "image", "image")(before)).toBe(before);
});

it("the ports of a repeated node have the turns, and lists of what is collected", () => {
  const specs = new Map([["Grow", grow]]);
  const once = toggleCollect("grow", "image")(on).nodes.grow;

  const found = specOf(specs, once);

  expect(found?.inputs.at(-1)).toMatchObject({ name: "turns", kind: "INT", required: true, minimum: 1, maximum: 10_000 });
  expect(found?.outputs.map(({ name, is_list }) => [name, is_list])).toEqual([["image", true], ["amount", false], ["enough", false], ["list", true]]);
  expect(specOf(specs, once)).toBe(found);
});
