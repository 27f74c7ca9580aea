import { describe, expect, it } from "vitest";
import { en } from "../strings/en";
import { disconnect } from "./edit";
import { edge, input, node, output, sample, SPECS, spec } from "./samples";
import type { Workflow } from "./types";
import type { Specs } from "./wiring";
import { inletFor, inputPort, needs, nodeOf, outletFor, outputPort, refusal, replaceType, wire } from "./wiring";

const words = en.canvas.refused;
const typeOf = (name: string) => SPECS.get(name)!;

describe("refusals", () => {
  const why = (from: [string, string], to: [string, string]) =>
    refusal(sample(), SPECS, edge(...from), { node: to[0], input: to[1], index: null }, words);

  it("name the kinds that do not meet", () => {
    expect(why(["load", "mask"], ["save", "images"])).toBe("mask outputs MASK, images accepts IMAGE");
  });

  it("see circles, long ones too", () => {
    expect(why(["grid", "image"], ["invert", "image"])).toBe(words.cycle);
    expect(why(["invert", "image"], ["invert", "image"])).toBe(words.cycle);
  });

  it("say that an unknown type is unknown", () => {
    const odd = { ...sample(), nodes: { ...sample().nodes, odd: node("Gone") } };
    expect(refusal(odd, SPECS, edge("odd", "x"), { node: "save", input: "images", index: null }, words)).toBe(words.missing);
  });

  it("are null for what fits, as an item of a list too", () => {
    expect(why(["load", "image"], ["save", "images"])).toBeNull();
    expect(why(["load", "image"], ["grid", "images"])).toBeNull();
  });
});

it("an edge into a list becomes an item, an edge into a value replaces it", () => {
  const inlet = (name: string) => ({ node: name, input: "images", index: null });

  expect(wire(sample(), SPECS, edge("load", "image"), inlet("grid"))(sample()).nodes.grid?.inputs.images).toHaveLength(3);
  expect(wire(sample(), SPECS, edge("load", "image"), inlet("save"))(sample()).nodes.save?.inputs.images).toEqual(edge("load", "image"));
});

it("a loose edge finds a free port of its own kind first", () => {
  const image = typeOf("Load").outputs[0]!;
  const two = spec("Two", [input("any", "ANY"), input("a", "IMAGE"), input("b", "IMAGE")], []);

  expect(inletFor(two, image)?.name).toBe("a");
  expect(inletFor(two, image, node("Two", { a: edge("load", "image") }))?.name).toBe("b");
  expect(inletFor(typeOf("Number"), image)).toBeUndefined();
  expect(outletFor(typeOf("Load"), input("m", "MASK"))?.name).toBe("mask");
  expect(outletFor(typeOf("Number"), input("f", "FLOAT"))?.name).toBe("value");
});

it("a new node starts with plain values where its author gave none", () => {
  const made = spec(
    "Made",
    [
      input("seed", "INT", { widget: "seed", required: false }),
      input("text", "STRING"),
      input("size", "INT", { minimum: 8 }),
      input("model", "MODEL_FILE", { source: "models/checkpoints" }),
      input("image", "IMAGE"),
      input("steps", "INT", { required: false, default: 20 }),
    ],
    [],
  );

  expect(nodeOf(made, { "models/checkpoints": ["shapes"] }).inputs).toEqual({ seed: "random", text: "", size: 8, model: "shapes" });
});

describe("replacing a node", () => {
  const after = (type: string, workflow: Workflow = sample()) => replaceType(workflow, SPECS, {}, "invert", typeOf(type))(workflow);

  it("keeps edges by name or kind, and values by name", () => {
    const { nodes, inputs, outputs } = after("Blur");

    expect(nodes.invert).toEqual({ type: "Blur", version: 1, inputs: { picture: edge("load", "image"), amount: 0.5 } });
    expect(nodes.save?.inputs.images).toEqual(edge("invert", "image"));
    expect(nodes.grid?.inputs.images).toEqual([edge("load", "image"), edge("invert", "image")]);
    expect(inputs).toEqual(sample().inputs);
    expect(outputs).toEqual(sample().outputs);
  });

  it("drops what the new type does not have", () => {
    const { nodes, inputs, outputs } = after("Number");

    expect(nodes.invert?.inputs).toEqual({ value: 0 });
    expect(nodes.save?.inputs).toEqual({});
    expect(nodes.grid?.inputs.images).toEqual([edge("load", "image")]);
    expect([inputs, outputs]).toEqual([[], []]);
  });
});

it("needs follows edges of lists too", () => {
  expect(needs(sample(), "grid", "load")).toBe(true);
  expect(needs(sample(), "load", "grid")).toBe(false);
});

it("a list that leads into an input for single values makes the node run once for each item", () => {
  const specs: Specs = new Map([...SPECS, ["Split", spec("Split", [input("image", "IMAGE")], [output("images", "IMAGE", true)])]]);
  const nodes = { ...sample().nodes, split: node("Split", { image: edge("load", "image") }) };
  const workflow = { ...sample(), nodes };
  const inlet = { node: "invert", input: "image", index: null };

  expect(refusal(workflow, specs, edge("split", "images"), inlet, en.canvas.refused)).toBeNull();
  const mapped = wire(workflow, specs, edge("split", "images"), inlet)(workflow);
  expect(mapped.nodes.invert).toEqual({ ...node("Invert", { image: edge("split", "images"), amount: 0.5 }), each: ["image"] });
  expect(outputPort(mapped, specs, edge("invert", "image"))?.is_list).toBe(true);
  expect(inputPort(mapped, specs, "invert", "image")?.is_list).toBe(true);
  expect(refusal(workflow, specs, edge("split", "images"), { node: "split", input: "image", index: null }, en.canvas.refused)).not.toBeNull();

  expect(disconnect(inlet)(mapped).nodes.invert).toEqual(node("Invert", { amount: 0.5 }));
});

it("a node whose type nobody knows keeps its edges and named outputs when it is replaced", () => {
  const lost = sample();
  lost.nodes.invert = { ...lost.nodes.invert!, type: "gone/Invert" };
  const after = replaceType(lost, SPECS, {}, "invert", typeOf("Invert"))(lost);

  expect([after.nodes, after.outputs]).toEqual([sample().nodes, sample().outputs]);
});

it("an output of another name takes the place of an unknown one where it fits all that used it", () => {
  const odd = sample();
  odd.nodes = {
    load: odd.nodes.load!,
    invert: { ...odd.nodes.invert!, type: "gone/Invert" },
    save: node("Save", { images: edge("invert", "picture") }),
  };
  odd.outputs = ["picture", "mask"].map((output) => ({ name: output, from: edge("invert", output) }));
  const after = replaceType(odd, SPECS, {}, "invert", typeOf("Invert"))(odd);

  expect(after.nodes.save!.inputs.images).toEqual(edge("invert", "image"));
  expect(after.outputs).toEqual([{ name: "picture", from: edge("invert", "image") }]);
});
