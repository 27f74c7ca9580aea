/** Every word that people read. English is the measure: a key that another language lacks is a type error. */

import { useSettings } from "../store/settings";
import { en } from "./en";
import { zhCN } from "./zh-CN";

export type Strings = typeof en;

export const LANGUAGES = { en: { name: "English", strings: en }, "zh-CN": { name: "简体中文", strings: zhCN } } as const;
export type Language = keyof typeof LANGUAGES;

/** The language of a browser's wish list. */
export function languageOf(wishes: readonly string[]): Language {
  return wishes.find((wish) => /^(en|zh)\b/.test(wish))?.startsWith("zh") ? "zh-CN" : "en";
}

export function useStrings(): Strings {
  return LANGUAGES[useSettings((state) => state.language)].strings;
}

/** The words outside of components. */
export const strings = (): Strings => LANGUAGES[useSettings.getState().language].strings;
