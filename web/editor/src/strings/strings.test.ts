import { expect, it } from "vitest";
import { LANGUAGES } from ".";

it("no word is left empty in any language", () => {
  const empty = (words: object): string[] =>
    Object.entries(words).flatMap(([key, value]) =>
      typeof value === "object" ? empty(value as object) : value === "" ? [key] : [],
    );

  for (const { strings } of Object.values(LANGUAGES)) expect(empty(strings)).toEqual([]);
});
