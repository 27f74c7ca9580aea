/** Every word that people read. English is the measure: a key that another language lacks is a type error. */

import type { Language } from "../settings/language";
import { useSettings } from "../settings/settings";
import type { Strings } from "./en";
import { en } from "./en";
import { zhCN } from "./zh-CN";

export type { Strings };

export const LANGUAGES = {
  en: { name: "English", strings: en },
  "zh-CN": { name: "简体中文", strings: zhCN },
} satisfies Record<Language, { name: string; strings: Strings }>;

export function useStrings(): Strings {
  return LANGUAGES[useSettings((state) => state.language)].strings;
}

/** The words outside of components. */
export const strings = (): Strings => LANGUAGES[useSettings.getState().language].strings;
