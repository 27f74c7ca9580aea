import { expect, it } from "vitest";
import { cellCount, entryOf, MAX_CELLS, newAxis, textOf, valuesOf } from "./sweep";

const port = (kind: string, is_list = false) => ({ kind, is_list });
const typed = (kind: string, text: string) => valuesOf(port(kind), { ...newAxis("x"), text });

it("whole numbers stand between commas and spaces, or in ranges up and down; each counts once", () => {
  expect(typed("INT", "3,5 , 7")).toEqual({ values: [3, 5, 7], count: 3, wrong: [] });
  expect(typed("INT", "1..4")).toEqual({ values: [1, 2, 3, 4], count: 4, wrong: [] });
  expect(typed("INT", "2..-1，9、+9")).toEqual({ values: [2, 1, 0, -1, 9], count: 5, wrong: [] });
  expect(typed("INT", "")).toEqual({ values: [], count: 0, wrong: [] });
});

it("what is no number is told, all of it", () => {
  expect(typed("INT", "1, x, 2.5, 1..z")).toEqual({ values: [1], count: 1, wrong: ["x", "2.5", "1..z"] });
  expect(typed("FLOAT", "1e999 NaN Infinity 0x10 --1")).toEqual({
    values: [],
    count: 0,
    wrong: ["1e999", "NaN", "Infinity", "0x10", "--1"],
  });
});

it("fractions may be short or have an exponent", () => {
  expect(typed("FLOAT", ".5 7. 1e-2 -3 1..2").values).toEqual([0.5, 7, 0.01, -3, 1, 2]);
});

it("a seed that a number of JavaScript cannot hold stays as it is written", () => {
  expect(typed("INT", "18446744073709551614..18446744073709551615").values).toEqual([
    "18446744073709551614",
    "18446744073709551615",
  ]);
});

it("a range of any length is counted without being written out", () => {
  const { values, count } = typed("INT", "1..99999999999999999999");

  expect(values).toHaveLength(MAX_CELLS);
  expect(count).toBe(99999999999999999999);
});

it("texts are lines, as prompts hold commas; choices are ticked", () => {
  expect(typed("STRING", "a star, red\n\n a moon \na moon").values).toEqual(["a star, red", "a moon"]);
  expect(valuesOf(port("CHOICE"), { ...newAxis("x"), ticked: ["euler", "heun"] }).values).toEqual(["euler", "heun"]);
  expect(valuesOf(port("BOOLEAN"), { ...newAxis("x"), ticked: ["true", "false"] }).values).toEqual([true, false]);
});

it("only single values that can be written or ticked make an axis", () => {
  expect(["INT", "STRING", "MODEL_FILE", "JSON", "IMAGE", "toString"].map((kind) => entryOf(port(kind)))).toEqual([
    "numbers",
    "lines",
    "ticks",
    undefined,
    undefined,
    undefined,
  ]);
  expect(entryOf(port("INT", true))).toBe(undefined);
});

it("cells are all combinations; without axes there are none", () => {
  expect([cellCount([]), cellCount([4]), cellCount([4, 3, 2]), cellCount([4, 0])]).toEqual([0, 4, 24, 0]);
});

it("values are read as they are written", () => {
  expect([textOf("euler"), textOf(7.5), textOf(true)]).toEqual(["euler", "7.5", "true"]);
});
