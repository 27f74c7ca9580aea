import { expect, test } from "vitest";
import type { Painting } from "./strokes";
import { blank, MAX_BRUSH, moved, resized } from "./strokes";
import { fitted, panned, toPicture, zoomed } from "./view";

const kinds = ({ done, undone }: Painting) => [done.map(({ kind }) => kind), undone.map(({ kind }) => kind)];
const act = (painting: Painting, kind: "clear" | "fill" | "invert") => moved(painting, { do: "act", act: { kind } });

test("acts are undone and done again in order; a new act ends what was undone", () => {
  const two = act(act(blank, "fill"), "invert");
  const one = moved(two, { do: "undo" });
  expect(kinds(one)).toEqual([["fill"], ["invert"]]);
  expect(moved(one, { do: "redo" })).toEqual(two);
  expect(kinds(act(one, "clear"))).toEqual([["fill", "clear"], []]);
  expect(kinds(two)).toEqual([["fill", "invert"], []]);
});

test("there is nothing before the first act and nothing after the last", () => {
  expect(moved(blank, { do: "undo" })).toBe(blank);
  expect(moved(blank, { do: "redo" })).toBe(blank);
});

test("the brush grows by tenths, by a pixel at least, within its bounds", () => {
  expect([resized(40, 1), resized(40, -1), resized(3, 1), resized(1, -1), resized(MAX_BRUSH, 1)]).toEqual([44, 36, 4, 1, MAX_BRUSH]);
});

test("zooming leaves what is below the pointer where it is", () => {
  const view = fitted({ width: 100, height: 50 }, { width: 432, height: 432 });
  expect(view).toEqual({ scale: 4, x: 16, y: 116 });
  const at = { x: 100, y: 150 };
  const before = toPicture(view, at);
  const after = toPicture(zoomed(view, at, 1.7), at);
  expect(after.x).toBeCloseTo(before.x, 9);
  expect(after.y).toBeCloseTo(before.y, 9);
  expect(panned(view, { x: 3, y: -4 })).toEqual({ scale: 4, x: 19, y: 112 });
});
