import { expect, it } from "vitest";
import type { Cell } from "./grid";
import { arranged, labelOf } from "./grid";

const table = (...inputs: Record<string, unknown>[]) => inputs.map((values, place) => ({ place, inputs: values }) as Cell);

const places = (cells: Cell[]) => {
  const { labels, at } = arranged(cells);
  return labels[2].map((_, page) => labels[1].map((_, y) => labels[0].map((_, x) => at(x, y, page)?.place)));
};

it("the last input goes across, the one before down, the first in pages", () => {
  const cells = table(
    ...["a", "b"].flatMap((prompt) => [1, 2, 3].flatMap((seed) => [3.5, 7].map((cfg) => ({ prompt, seed, cfg })))),
  );

  expect(arranged(cells).names).toEqual(["cfg", "seed", "prompt"]);
  expect(arranged(cells).labels).toEqual([["3.5", "7"], ["1", "2", "3"], ["a", "b"]]);
  expect(places(cells)).toEqual([
    [[0, 1], [2, 3], [4, 5]],
    [[6, 7], [8, 9], [10, 11]],
  ]);
});

it("one axis is a row", () => {
  const cells = table({ cfg: 3 }, { cfg: 5 });

  expect(arranged(cells).names).toEqual(["cfg", "", ""]);
  expect(places(cells)).toEqual([[[0, 1]]]);
});

it("a table that fills no grid is a list: axes in step, rows, twice the same, four inputs", () => {
  const list = (cells: Cell[]) => [arranged(cells).names.join(""), arranged(cells).labels[1], places(cells)];

  expect(list(table({ seed: 1, cfg: 3 }, { seed: 2, cfg: 5 }))).toEqual(["", ["seed 1, cfg 3", "seed 2, cfg 5"], [[[0], [1]]]]);
  expect(list(table({ seed: 1 }, { cfg: 5 }))).toEqual(["", ["seed 1", "cfg 5"], [[[0], [1]]]]);
  expect(list(table({ seed: "random" }, { seed: "random" }))[2]).toEqual([[[0], [1]]]);
  expect(list(table({ a: 1, b: 1, c: 1, d: 1 }))[1]).toEqual(["a 1, b 1, c 1, d 1"]);
});

it("no cells make an empty list", () => {
  expect(places([])).toEqual([[]]);
});

it("a label has every value", () => {
  expect(labelOf(table({ prompt: "a star", tiled: true })[0] as Cell)).toBe("prompt a star, tiled true");
});
