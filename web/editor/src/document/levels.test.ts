import { expect, it } from "vitest";
import { removeNodes, setInput } from "./edit";
import { withGraphs } from "./graphs";
import { addToForm, freeInputs } from "./interface";
import { atLevel, graphsAlong, levelAt, usesOf, wouldRecur } from "./levels";
import { pack } from "./packing";
import { SPECS, edge, node, sample } from "./samples";

/** `outer` holds a use of `inner`, which holds `invert`; `twin` uses `inner` too. */
function nested() {
  const packed = pack(new Set(["invert"]), "inner", "use")(sample());
  const twice = { ...packed, nodes: { ...packed.nodes, twin: node("graph/inner", { image: edge("load", "image") }) } };
  return pack(new Set(["use"]), "outer", "block")(twice);
}

it("a path leads through sub-workflows, as far as they are there", () => {
  const workflow = nested();

  expect(graphsAlong(workflow, ["block", "use"])).toEqual(["outer", "inner"]);
  expect(graphsAlong(workflow, ["block", "gone", "use"])).toEqual(["outer"]);
  expect(graphsAlong(workflow, ["load"])).toEqual([]);
  expect(Object.keys(levelAt(workflow, ["block", "use"]).nodes)).toEqual(["invert"]);
  expect(levelAt(workflow, ["block"])).toBe(levelAt(workflow, ["block"]));
  expect(levelAt(workflow, [])).toBe(workflow);
});

it("an edit inside changes the sub-workflow that all uses share, and nothing else", () => {
  const workflow = nested();

  const after = atLevel(["block", "use"], setInput("invert", "amount", 0.9))(workflow);

  expect(levelAt(after, ["twin"]).nodes.invert?.inputs.amount).toBe(0.9);
  expect(after.nodes).toBe(workflow.nodes);
  expect(after.graphs?.outer).toBe(workflow.graphs?.outer);
  expect(Object.keys(after.graphs ?? {})).toEqual(Object.keys(workflow.graphs ?? {}));
  expect(after.graphs?.inner).not.toHaveProperty("graphs");
  expect(after.graphs?.inner).not.toHaveProperty("format");
});

it("an edit inside that changes nothing keeps the document", () => {
  const workflow = nested();

  expect(atLevel(["block", "use"], (same) => same)(workflow)).toBe(workflow);
});

it("what other levels use stays when an edit inside takes it out of the document", () => {
  const workflow = nested();

  const after = atLevel(["block"], (level) => ({ ...removeNodes(new Set(["use"]))(level), graphs: undefined }))(workflow);

  expect(Object.keys(after.graphs ?? {}).sort()).toEqual(["inner", "outer"]);
  expect(graphsAlong(after, ["twin"])).toEqual(["inner"]);
});

it("packing inside gives a sub-workflow beside the others", () => {
  const after = atLevel(["block", "use"], pack(new Set(["invert"]), "deep", "deepest"))(nested());

  expect(graphsAlong(after, ["twin", "deepest"])).toEqual(["inner", "deep"]);
});

it("uses are counted on all levels", () => {
  expect(usesOf(nested(), "inner")).toBe(2);
  expect(usesOf(nested(), "outer")).toBe(1);
});

it("a type that needs the open sub-workflow would make it use itself", () => {
  const { graphs } = nested();

  expect(wouldRecur(graphs, "graph/outer", "inner")).toBe(true);
  expect(wouldRecur(graphs, "graph/inner", "inner")).toBe(true);
  expect(wouldRecur(graphs, "graph/inner", "outer")).toBe(false);
  expect(wouldRecur(graphs, "Invert", "inner")).toBe(false);
});

it("an inner value becomes an input of the sub-workflow, with the value as its default", () => {
  const workflow = pack(new Set(["invert"]), "inner", "use")({ ...sample(), inputs: [] });
  const inside = levelAt(workflow, ["use"]);
  expect(freeInputs(inside, "invert", SPECS.get("Invert"))).toEqual(["amount"]);

  const after = atLevel(["use"], addToForm({ node: "invert", input: "amount" }))(workflow);

  const port = withGraphs(SPECS, after.graphs).get("graph/inner")?.inputs.find(({ name }) => name === "amount");
  expect(port).toMatchObject({ kind: "FLOAT", required: false, default: 0.5 });
  expect(after.nodes).toBe(workflow.nodes);
  expect(freeInputs(levelAt(after, ["use"]), "invert", SPECS.get("Invert"))).toEqual([]);
});
