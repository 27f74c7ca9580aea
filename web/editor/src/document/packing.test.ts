import { expect, it } from "vitest";
import { copied, paste } from "./clip";
import { graphsFor, withGraphs } from "./graphs";
import { pack, unpack } from "./packing";
import { read } from "./read";
import { SPECS, edge, node, sample } from "./samples";
import type { Workflow } from "./types";
import { write } from "./write";

const of = (...ids: string[]) => ({ nodes: new Set(ids), groups: new Set<string>(), notes: new Set<string>() });
const packed = () => pack(new Set(["invert", "grid"]), "block", "block")(sample());

it("packs nodes: edges, items of lists and named inputs from outside become inputs, what is used outside outputs", () => {
  const { graphs, nodes, inputs, outputs, layout } = packed();

  expect(graphs?.block).toMatchObject({
    inputs: [
      { name: "image", to: [{ node: "invert", input: "image" }, { node: "grid", input: "images", item: 0 }] },
      { name: "amount", to: [{ node: "invert", input: "amount" }] },
    ],
    outputs: [{ name: "image", from: edge("invert", "image") }],
    nodes: { invert: node("Invert", { amount: 0.5 }), grid: node("Grid", { images: [null, edge("invert", "image")] }) },
  });
  expect(Object.keys(nodes)).toEqual(["load", "save", "block"]);
  expect(nodes.block).toEqual(node("graph/block", { image: edge("load", "image") }));
  expect(nodes.save!.inputs.images).toEqual(edge("block", "image"));
  expect(inputs).toEqual([{ name: "amount", to: [{ node: "block", input: "amount" }] }]);
  expect(outputs).toEqual([{ name: "image", from: edge("block", "image") }]);
  expect(layout.nodes.block).toEqual({ x: 300, y: 0 });
});

it("unpacks what was packed", () => {
  const ids: string[] = [];

  const again = unpack("block", ids)(packed());

  expect(write(again)).toEqual(write(sample()));
  expect(ids).toEqual(["invert", "grid"]);
});

it("packs a single node, a whole workflow, and what is packed already", () => {
  const all = sample();
  for (const ids of [["load"], ["save"], Object.keys(all.nodes)]) {
    const once = pack(new Set(ids), "a", "use")(all);
    expect(write(unpack("use")(once))).toEqual(write(all));
    const twice = pack(new Set(["use"]), "b", "outer")(once);
    expect(write(unpack("use")(unpack("outer")(twice)))).toEqual(write(all));
  }
});

it("gives nodes other ids where theirs are taken, and keeps a sub-workflow that others use", () => {
  const two = { ...packed(), nodes: { ...packed().nodes, again: node("graph/block", { image: edge("block", "image") }) } };

  const open = unpack("again")(unpack("block")(two));

  expect(Object.keys(unpack("block")(two).graphs ?? {})).toEqual(["block"]);
  expect(open.graphs).toBeUndefined();
  expect(open.nodes["again-invert"]!.inputs).toEqual({ amount: 0.5, image: edge("invert", "image") });
  expect(open.nodes["again-grid"]!.inputs.images).toEqual([edge("invert", "image"), edge("again-invert", "image")]);
});

it("takes ports from what they lead to, also through other sub-workflows", () => {
  const outer = pack(new Set(["block"]), "outer", "outer")(packed());

  const specs = withGraphs(SPECS, outer.graphs);

  const [image, amount] = specs.get("graph/outer")!.inputs;
  expect(image).toMatchObject({ name: "image", kind: "IMAGE", required: true });
  expect(amount).toMatchObject({ name: "amount", kind: "FLOAT", required: false, default: 0.5 });
  expect(specs.get("graph/outer")!.outputs).toEqual([{ name: "image", kind: "IMAGE", is_list: false }]);
  expect(withGraphs(SPECS, undefined)).toBe(SPECS);
});

it("survives a port that leads nowhere and a sub-workflow that uses itself", () => {
  const broken: Workflow = { ...sample(), graphs: { a: { ...sample(), nodes: { a: node("graph/a"), ghost: node("Gone") } } } };

  expect(withGraphs(SPECS, broken.graphs).get("graph/a")!.inputs[0]).toMatchObject({ name: "amount", kind: "ANY" });
  expect(graphsFor(broken.graphs!.a!.nodes, broken.graphs)).toHaveProperty("a");
});

it("copies the sub-workflows that nodes use; an equal one is shared, another one gets a free name", () => {
  const piece = copied(packed(), of("block"));
  expect(Object.keys(piece.graphs ?? {})).toEqual(["block"]);

  const shared = paste(packed(), piece, { x: 0, y: 0 }, false).edit(packed());
  expect(Object.keys(shared.graphs ?? {})).toEqual(["block"]);
  expect(shared.nodes["block-2"]!.type).toBe("graph/block");

  const other = pack(new Set(["save"]), "block", "save")(sample());
  const renamed = paste(other, piece, { x: 0, y: 0 }, false).edit(other);
  expect(Object.keys(renamed.graphs ?? {})).toEqual(["block", "block-2"]);
  expect(renamed.nodes.block!.type).toBe("graph/block-2");
});

it("what was written reads the same", () => {
  expect(read(JSON.parse(write(packed())))).toEqual(packed());
});
