/** The languages that the editor speaks. */
export type Language = "en" | "zh-CN";

/** The language of a browser's wish list. */
export function languageOf(wishes: readonly string[]): Language {
  return wishes.find((wish) => /^(en|zh)\b/.test(wish))?.startsWith("zh") ? "zh-CN" : "en";
}
