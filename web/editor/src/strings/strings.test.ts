import { expect, it } from "vitest";
import { LANGUAGES, languageOf } from ".";

it.each([
  [["fr", "zh-TW", "en"], "zh-CN"],
  [["en-GB", "zh"], "en"],
  [["de"], "en"],
  [[], "en"],
])("a browser that wishes %j gets %s", (wishes, language) => {
  expect(languageOf(wishes)).toBe(language);
});

it("no word is left empty in any language", () => {
  const empty = (words: object): string[] =>
    Object.entries(words).flatMap(([key, value]) =>
      typeof value === "object" ? empty(value as object) : value === "" ? [key] : [],
    );

  for (const { strings } of Object.values(LANGUAGES)) expect(empty(strings)).toEqual([]);
});
