import { describe, expect, it } from "vitest";
import { addNode, chain, collapse, connect, disconnect, freshId, moveNodes, removeNodes, setInput, setTitle, toggleMode, toggleOnError } from "./edit";
import { edge, node, sample } from "./samples";

describe("edits", () => {
  it("leave what they do not touch as it is, and the document that they are given", () => {
    const before = sample();
    const after = setInput("invert", "amount", 1)(before);

    expect(after.nodes.invert?.inputs.amount).toBe(1);
    expect(before.nodes.invert?.inputs.amount).toBe(0.5);
    expect(after.nodes.load).toBe(before.nodes.load);
    expect(after.layout).toBe(before.layout);
  });

  it("give the same document back when nothing changes", () => {
    const before = sample();

    expect(setInput("invert", "amount", 0.5)(before)).toBe(before);
    expect(setInput("invert", "nothing", undefined)(before)).toBe(before);
    expect(setInput("nobody", "amount", 1)(before)).toBe(before);
    expect(removeNodes(new Set(["nobody"]))(before)).toBe(before);
  });

  it("take an input out with undefined", () => {
    expect(setInput("invert", "amount", undefined)(sample()).nodes.invert?.inputs).toEqual({ image: edge("load", "image") });
  });

  it("remove a node with all that hangs on it", () => {
    const after = removeNodes(new Set(["invert"]))(sample());

    expect(Object.keys(after.nodes)).toEqual(["load", "save", "grid"]);
    expect(after.nodes.save?.inputs).toEqual({});
    expect(after.nodes.grid?.inputs).toEqual({ images: [edge("load", "image")] });
    expect(after.inputs).toEqual([]);
    expect(after.outputs).toEqual([]);
    expect(Object.keys(after.layout.nodes)).toEqual(["load", "save", "grid"]);
  });

  it("lead edges to single inputs in place of the old, and into lists at their end or in a place", () => {
    const single = connect(edge("load", "image"), { node: "save", input: "images", index: null })(sample());
    const more = connect(edge("grid", "image"), { node: "grid", input: "images", index: null }, true)(sample());
    const second = connect(edge("load", "image"), { node: "grid", input: "images", index: 1 }, true)(sample());

    expect(single.nodes.save?.inputs.images).toEqual(edge("load", "image"));
    expect(more.nodes.grid?.inputs.images).toHaveLength(3);
    expect(second.nodes.grid?.inputs.images).toEqual([edge("load", "image"), edge("load", "image")]);
  });

  it("cut edges, the last item of a list with the list", () => {
    const inlet = { node: "grid", input: "images", index: 0 };

    expect(disconnect(inlet)(sample()).nodes.grid?.inputs.images).toEqual([edge("invert", "image")]);
    expect(chain(disconnect(inlet), disconnect(inlet))(sample()).nodes.grid?.inputs).toEqual({});
    expect(disconnect({ node: "invert", input: "amount", index: null })(sample())).toEqual(sample());
  });

  it("toggle a mode for all together", () => {
    const one = toggleMode(["load"], "mute")(sample());
    const both = toggleMode(["load", "invert"], "mute")(one);

    expect([both.nodes.load?.mode, both.nodes.invert?.mode]).toEqual(["mute", "mute"]);
    expect(toggleMode(["load", "invert"], "mute")(both)).toEqual(sample());
  });

  it("keep a title only when it says something", () => {
    const titled = setTitle("load", " Cat ")(sample());

    expect(titled.nodes.load?.title).toBe("Cat");
    expect(setTitle("load", "  ")(titled)).toEqual(sample());
  });

  it("move nodes and keep what else their place holds", () => {
    const after = chain(collapse(["load"], true), moveNodes(new Map([["load", { x: 5, y: 6 }]])))(sample());

    expect(after.layout.nodes.load).toEqual({ x: 5, y: 6, collapsed: true });
  });

  it("name new nodes after their type", () => {
    const { nodes } = addNode("invert-2", node("Invert"), { x: 0, y: 0 })(sample());

    expect(freshId("Invert", (id) => id in nodes)).toBe("invert-3");
    expect(freshId("plugin/Glow", () => false)).toBe("glow");
    expect(freshId("CLIPEncode", () => false)).toBe("clip_encode");
    expect(freshId("VAEDecodeTiled", (id) => id === "vae_decode_tiled")).toBe("vae_decode_tiled-2");
    expect(freshId("plugin/über", () => false)).toBe("ber");
  });
});

it("a failed item ends the run or is left out, where a node goes item by item", () => {
  const before = sample();
  const each = { ...before, nodes: { ...before.nodes, invert: { ...node("Invert"), each: ["image"] } } };

  const kept = toggleOnError("invert")(each);

  expect(kept.nodes.invert?.on_error).toBe("keep");
  expect(toggleOnError("invert")(kept).nodes.invert).not.toHaveProperty("on_error");
  expect(toggleOnError("load")(each)).toBe(each);
});
