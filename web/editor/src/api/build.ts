/** Which build of the editor is open. Its scripts have a hash of their content in their names. */

import { BASE } from "./client";

export const scriptsOf = (page: ParentNode): string =>
  [...page.querySelectorAll("script[src]")].map((script) => script.getAttribute("src")).join();

/** Whether the server has another build than the one that is open; unknown: no. */
export async function isOutdated(): Promise<boolean> {
  const text = await fetch(BASE, { signal: AbortSignal.timeout(10_000) }).then(
    (response) => (response.ok ? response.text() : ""),
    () => "",
  );
  const served = scriptsOf(new DOMParser().parseFromString(text, "text/html"));
  return served !== "" && served !== scriptsOf(document);
}
