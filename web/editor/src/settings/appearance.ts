import { useEffect } from "react";
import { useSettings } from "./settings";

/** Show the page in the theme and the language that a person prefers. */
export function useAppearance() {
  const { theme, language } = useSettings();
  useEffect(() => {
    document.documentElement.lang = language;
    document.documentElement.dataset.theme = theme;
  }, [theme, language]);
}
