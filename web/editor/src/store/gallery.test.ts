import { expect, it } from "vitest";
import type { OutputFile } from "../api/client";
import { createGallery, merged } from "./gallery";

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

it("two files at most are marked: the newest mark drives out the oldest", () => {
  const gallery = createGallery();
  for (const id of [1, 2, 3]) gallery.getState().mark(id);
  expect(gallery.getState().marked).toEqual([2, 3]);

  gallery.getState().mark(2);
  expect(gallery.getState().marked).toEqual([3]);
});
