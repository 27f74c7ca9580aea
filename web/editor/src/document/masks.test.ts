import { expect, test } from "vitest";
import type { NodeSpec } from "../api/client";
import { addMask, masksIn, picturesIn, putMask, readingOf } from "./masks";
import { read } from "./read";

const file = (widget: string | null) => [{ name: "image", kind: "FILE", widget }];
const SPECS = new Map([
  ["LoadImage", { inputs: file(null) } as unknown as NodeSpec],
  ["LoadMask", { inputs: file("mask") } as unknown as NodeSpec],
]);

const DOCUMENT = read({
  format: "latentloom/1",
  nodes: {
    far: { type: "LoadImage", version: 1, inputs: { image: "far.png" } },
    near: { type: "LoadImage", version: 1, inputs: { image: "near.png" } },
    empty: { type: "LoadImage", version: 1, inputs: {} },
    mask: { type: "LoadMask", version: 1, inputs: { image: "m.png", channel: "alpha", invert: true } },
    use: { type: "SetLatentMask", version: 1, inputs: { mask: { node: "near", output: "mask" }, image: { node: "near", output: "image" } } },
  },
  layout: { nodes: { far: { x: 900, y: 0 }, near: { x: 0, y: 0 }, empty: { x: 0, y: 0 }, mask: { x: 0, y: 300 }, use: { x: 400, y: 0 } } },
});

test("a mask is painted over the nearest picture", () => {
  expect(picturesIn(DOCUMENT, SPECS, "mask").map(({ name }) => name)).toEqual(["near.png", "far.png"]);
  expect(masksIn(DOCUMENT, SPECS)).toEqual([{ node: "mask", input: "image", name: "m.png" }]);
});

test("a painted mask is read as it was painted, whatever the node read before", () => {
  expect(readingOf(DOCUMENT.nodes.mask)).toEqual({ channel: "alpha", invert: true });
  const after = putMask({ node: "mask", input: "image" }, "new.png")(DOCUMENT);
  expect(after.nodes.mask?.inputs).toEqual({ image: "new.png" });
  expect(readingOf(after.nodes.mask)).toEqual({ channel: "luminance", invert: false });
});

test("without a mask node there is a new one, and it feeds whoever read the picture's transparency", () => {
  const after = addMask("near", "new.png")(DOCUMENT);
  expect(after.nodes.load_mask).toEqual({ type: "LoadMask", version: 1, inputs: { image: "new.png" } });
  expect(after.nodes.use?.inputs).toEqual({ mask: { node: "load_mask", output: "mask" }, image: { node: "near", output: "image" } });
  expect(after.nodes.near).toBe(DOCUMENT.nodes.near);
});
