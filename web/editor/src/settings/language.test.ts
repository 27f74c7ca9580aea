import { expect, it } from "vitest";
import { languageOf } from "./language";

it.each([
  [["fr", "zh-TW", "en"], "zh-CN"],
  [["en-GB", "zh"], "en"],
  [["de"], "en"],
  [[], "en"],
])("a browser that wishes %j gets %s", (wishes, language) => {
  expect(languageOf(wishes)).toBe(language);
});
