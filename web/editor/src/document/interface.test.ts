import { expect, it } from "vitest";
import { chain } from "./edit";
import { addToForm, arrangedIn, arrangeInForm, freshName, groupsOf, moveInForm, nameFits, removeFromForm, renameInForm, setNamed } from "./interface";
import { emptyWorkflow } from "./types";
import type { Workflow } from "./types";

const node = (inputs: Record<string, unknown>) => ({ type: "KSampler", version: 1, inputs });

function sampled(): Workflow {
  const nodes = { sample: node({ steps: 20, seed: 7 }), again: node({ steps: 10 }) };
  return { ...emptyWorkflow("test"), nodes };
}

const names = ({ inputs }: Workflow) => inputs.map(({ name }) => name);

it("inputs come into the form under names of their own, once each", () => {
  const edit = chain(
    addToForm({ node: "sample", input: "steps" }),
    addToForm({ node: "sample", input: "steps" }),
    addToForm({ node: "again", input: "steps" }),
    addToForm({ node: "again", input: "server" }),
  );

  expect(names(edit(sampled()))).toEqual(["steps", "again-steps", "again-server"]);
});

it.each(["", "1st", "two words", "steps", "server", "no_cache", "x".repeat(101)])("%j is no name for another input", (name) => {
  const workflow = addToForm({ node: "sample", input: "steps" })(sampled());

  expect(nameFits(workflow, name)).toBe(false);
});

it("a third input of the same name gets a number", () => {
  const taken = { ...sampled(), inputs: ["steps", "sample-steps"].map((name) => ({ name, to: [] })) };

  expect(freshName(taken, { node: "sample", input: "steps" })).toBe("sample-steps-2");
});

it("the form is renamed, put into another order and made shorter; what cannot be changes nothing", () => {
  const start = chain(addToForm({ node: "sample", input: "steps" }), addToForm({ node: "sample", input: "seed" }))(sampled());

  expect(names(renameInForm("steps", "how-many")(start))).toEqual(["how-many", "seed"]);
  expect(renameInForm("steps", "seed")(start)).toBe(start);
  expect(names(moveInForm("seed", -1)(start))).toEqual(["seed", "steps"]);
  expect(moveInForm("seed", 1)(start)).toBe(start);
  expect(names(removeFromForm("steps")(start))).toEqual(["seed"]);
});

it("a value goes wherever its input leads", () => {
  const to = [
    { node: "sample", input: "steps" },
    { node: "again", input: "steps" },
  ];
  const { nodes } = setNamed({ name: "steps", to }, 4)(sampled());

  expect(nodes.sample?.inputs.steps).toBe(4);
  expect(nodes.again?.inputs.steps).toBe(4);
});

it("how inputs stand in the form goes with their names, and leaves nothing behind", () => {
  const inputs = ["steps", "seed"].map((input) => addToForm({ node: "sample", input }));
  const made = chain(
    ...inputs,
    addToForm({ node: "again", input: "steps" }),
    arrangeInForm("steps", { group: "Effort", help: "More is slower." }),
    arrangeInForm("steps", { half: true }),
    arrangeInForm("seed", { group: "Effort" }),
    renameInForm("steps", "turns"),
  )(sampled());

  expect(made.layout.form).toEqual({ turns: { group: "Effort", help: "More is slower.", half: true }, seed: { group: "Effort" } });
  expect(groupsOf(made).map(({ title, items }) => [title, ...items.map(({ name }) => name)])).toEqual([
    ["Effort", "turns", "seed"],
    ["", "again-steps"],
  ]);
  expect(chain(removeFromForm("turns"), arrangeInForm("seed", { group: " " }))(made).layout).toEqual(sampled().layout);
});

it.each([null, [], "x", { form: 3 }, { form: { seed: 3, steps: { group: 7, half: "yes" } } }])("an odd arrangement %j is none", (layout) => {
  const found = arrangedIn({ layout: { nodes: {}, groups: [], notes: [], ...(layout as object) } });

  expect(Object.values(found)).toEqual(Object.values(found).map(() => ({})));
});
