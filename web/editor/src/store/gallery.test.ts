import { expect, it } from "vitest";
import type { OutputFile } from "../api/client";
import { merged, selectionAfter } from "./gallery";

const files = (...ids: number[]) => ids.map((id) => ({ id }) as OutputFile);
const ids = (outputs: readonly OutputFile[]) => outputs.map(({ id }) => id);

it("new files come before those that are shown, and the pages behind them stay", () => {
  const found = merged({ outputs: files(9, 8, 7), next: 7 }, { outputs: files(8, 7, 6, 5), next: 5 });

  expect(ids(found.outputs)).toEqual([9, 8, 7, 6, 5]);
  expect(found.next).toBe(5);
});

it("where more is new than one page holds, the gallery begins anew, without a gap", () => {
  const found = merged({ outputs: files(99, 98, 97), next: 97 }, { outputs: files(8, 7), next: null });

  expect(ids(found.outputs)).toEqual([99, 98, 97]);
  expect(found.next).toBe(97);
});

it("the first files of an empty gallery", () => {
  expect(merged({ outputs: files(2, 1), next: null }, { outputs: [], next: null })).toEqual({
    outputs: files(2, 1),
    next: null,
  });
});

it("a click selects or deselects one, with Shift all from the one selected last", () => {
  const shown = [9, 8, 7, 6, 5, 4];

  expect(selectionAfter(shown, [], 8, "toggle")).toEqual([8]);
  expect(selectionAfter(shown, [8], 5, "range")).toEqual([7, 6, 5, 8]);
  expect(selectionAfter(shown, [7, 6, 5, 8], 9, "range").toSorted()).toEqual([5, 6, 7, 8, 9]);
  expect(selectionAfter(shown, [4, 8], 8, "toggle")).toEqual([4]);
  expect(selectionAfter(shown, [], 6, "range")).toEqual([6]);
  expect(selectionAfter(shown, [99], 6, "range")).toEqual([99, 6]); // the last one is not shown any more
});
