import { expect, test } from "vitest";
import type { InputPort } from "../api/client";
import { evaluate } from "./expression";
import { nudged, rangeOf, readNumber, slides, stepOf } from "./number";

const port = (kind: string, minimum: number | null, maximum: number | null, multiple_of: number | null = null) =>
  ({ kind, minimum, maximum, multiple_of, widget: null }) as InputPort;

const STEPS = port("INT", 1, 10000);
const SEED = port("INT", 0, 18446744073709551615);
const SIZE = port("INT", 16, 4096, 8);
const SHARE = port("FLOAT", 0, 1);
const FREE = port("FLOAT", null, null);

test.each([
  ["2*(3+4)", 14],
  ["-2**2", -4],
  ["2**-1", 0.5],
  ["7 % 4 / 2", 1.5],
  ["1e3 - .5", 999.5],
])("the sum %s", (text, value) => expect(evaluate(text)).toBe(value));

test.each(["", "1 +", "(1", "1)", "1/0", "two", "1 2", "alert(1)"])("%j is no sum", (text) => expect(evaluate(text)).toBeNull());

test.each([
  [STEPS, "20", { value: 20 }],
  [STEPS, " ２０ ", { value: 20 }],
  [STEPS, "4*5", { value: 20 }],
  [STEPS, "0", { refusal: { reason: "below", bound: "1", nearest: [1] } }],
  [STEPS, "10001", { refusal: { reason: "above", bound: "10000", nearest: [10000] } }],
  [STEPS, "1.5", { refusal: { reason: "notWhole", nearest: [1, 2] } }],
  [STEPS, "many", { refusal: { reason: "notNumber", nearest: [] } }],
  [SIZE, "515", { refusal: { reason: "multiple", bound: "8", nearest: [512, 520] } }],
  [SIZE, "4097", { refusal: { reason: "above", bound: "4096", nearest: [4096] } }],
  [SHARE, "0,35", { value: 0.35 }],
  [SHARE, "0.1+0.2", { value: 0.3 }],
  [SHARE, "1.01", { refusal: { reason: "above", bound: "1", nearest: [1] } }],
  [port("FLOAT", 0, 1, 0.25), "0.3", { refusal: { reason: "multiple", bound: "0.25", nearest: [0.25, 0.5] } }],
  [FREE, "NaN", { refusal: { reason: "notNumber", nearest: [] } }],
] as const)("%o reads %j", (port, text, reading) => expect(readNumber(port, text)).toEqual(reading));

test("integers beyond 2^53-1 are text, digit for digit", () => {
  expect(readNumber(SEED, "9007199254740991")).toEqual({ value: 9007199254740991 });
  expect(readNumber(SEED, "9007199254740993")).toEqual({ value: "9007199254740993" });
  expect(readNumber(SEED, "18446744073709551615")).toEqual({ value: "18446744073709551615" });
  expect(readNumber(SEED, "18446744073709551616")).toEqual({
    refusal: { reason: "above", bound: "18446744073709551615", nearest: ["18446744073709551615"] },
  });
  expect(nudged(SEED, "9007199254740992", 1)).toBe("9007199254740993");
  expect(nudged(SEED, "9007199254740992", -1)).toBe(9007199254740991);
  expect(rangeOf(SEED)).toBe("0 – 18446744073709551615");
});

test.each([
  [STEPS, 20, 1, 21],
  [STEPS, 20, 10, 30],
  [STEPS, 20, 0.1, 21],
  [STEPS, 1, -1, 1],
  [STEPS, 10000, 1, 10000],
  [SIZE, 512, 1, 520],
  [SIZE, 515, 1, 520],
  [SIZE, 515, -1, 512],
  [SIZE, 16, -1, 16],
  [SHARE, 0.3, 1, 0.31],
  [SHARE, 0.3, 0.1, 0.301],
  [SHARE, 0.995, 10, 1],
  [FREE, 7, -10, 6],
])("%o: %s and %s steps", (port, value, steps, next) => expect(nudged(port, value, steps)).toBe(next));

test("steps, sliders and ranges follow the bounds", () => {
  expect([STEPS, SIZE, SHARE, FREE].map(stepOf)).toEqual([1, 8, 0.01, 0.1]);
  expect([STEPS, SIZE, SHARE, FREE, { ...STEPS, widget: "slider" }].map(slides)).toEqual([false, false, true, false, true]);
  expect([STEPS, SHARE, FREE, port("INT", 0, null), port("FLOAT", null, 2)].map(rangeOf)).toEqual([
    "1 – 10000",
    "0 – 1",
    "",
    "≥ 0",
    "≤ 2",
  ]);
});
