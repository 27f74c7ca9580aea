import { expect, test } from "vitest";
import { readJson } from "./json";

test("JSON is read; what is none tells why; integers that would be rounded are refused", () => {
  expect(readJson('{"a": [1, null, "9007199254740993"]}')).toEqual({ value: { a: [1, null, "9007199254740993"] } });
  expect(readJson("{a: 1}")).toHaveProperty("wrong");
  expect(readJson("[9007199254740993]")).toEqual({ unsafe: "9007199254740993" });
  expect(readJson("[1e30, 0.12345678901234567]")).toHaveProperty("value");
});
