import { expect, it } from "vitest";
import { same } from "./same";
import { sample } from "./samples";

it("the order of keys makes no difference", () => {
  const { format, name, ...rest } = sample();

  expect(same(sample(), { ...rest, name, format })).toBe(true);
  expect(same(sample(), { ...sample(), name: "other" })).toBe(false);
});
