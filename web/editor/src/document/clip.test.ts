import { expect, it } from "vitest";
import { copied, paste, pieceOf } from "./clip";
import { removeNodes } from "./edit";
import { edge, sample } from "./samples";
import { emptyWorkflow } from "./types";
import { write } from "./write";

const some = (...ids: string[]) => ({ nodes: new Set(ids), groups: new Set<string>(), notes: new Set<string>() });

it("a copy is a document, and comes back from text", () => {
  const piece = copied(sample(), some("invert", "save"));

  expect(pieceOf(write(piece))).toEqual(piece);
  expect(Object.keys(piece.nodes)).toEqual(["invert", "save"]);
  expect(piece.inputs).toEqual([]);
});

it("other text is no piece", () => {
  for (const text of ["", "hello", "{", "[]", '{"format": "other/1"}', "{}"]) expect(pieceOf(text)).toBeNull();
});

it("pasted nodes get fresh names, their own edges follow, edges from outside go", () => {
  const { edit, ids } = paste(sample(), copied(sample(), some("invert", "save")), { x: 0, y: 500 }, false);
  const after = edit(sample());

  expect(ids).toEqual(["invert-2", "save-2"]);
  expect(after.nodes["save-2"]?.inputs.images).toEqual(edge("invert-2", "image"));
  expect(after.nodes["invert-2"]?.inputs).toEqual({ amount: 0.5 });
  expect(after.layout.nodes["invert-2"]).toEqual({ x: 0, y: 500 });
  expect(after.layout.nodes["save-2"]).toEqual({ x: 300, y: 500 });
  expect(after.nodes.invert).toEqual(sample().nodes.invert);
});

it("linked pasting keeps incoming edges where their source is", () => {
  const piece = copied(sample(), some("invert"));

  const here = paste(sample(), piece, { x: 0, y: 0 }, true).edit(sample());
  const there = paste(emptyWorkflow(), piece, { x: 0, y: 0 }, true).edit(emptyWorkflow());

  expect(here.nodes["invert-2"]?.inputs.image).toEqual(edge("load", "image"));
  expect(there.nodes.invert?.inputs).toEqual({ amount: 0.5 });
});

it("pasting what was cut gives the same document again", () => {
  const piece = copied(sample(), some("grid"));
  const without = removeNodes(new Set(["grid"]))(sample());

  expect(paste(without, piece, { x: 900, y: 0 }, true).edit(without)).toEqual(sample());
});

it("groups and notes get numbers of their own", () => {
  const group = { id: "1", title: "G", x: 0, y: 0, width: 10, height: 10 };
  const workflow = { ...sample(), layout: { ...sample().layout, groups: [group] } };
  const piece = copied(workflow, { ...some(), groups: new Set(["1"]) });

  expect(paste(workflow, piece, { x: 7, y: 8 }, false).edit(workflow).layout.groups).toEqual([group, { ...group, id: "2", x: 7, y: 8 }]);
});
