/** Pictures on their way to the server. */

import type { Schemas } from "../api/client";
import { contentUrl, send, Unreachable } from "../api/client";
import { useCatalog } from "../store/catalog";
import { strings } from "../strings";

export type Stored = Schemas["StoredFile"];

/** Store a picture among those that workflows may name. Raises ServerError, Unreachable, Error for what is none. */
export async function storePicture(file: Blob): Promise<Stored> {
  if (!file.type.startsWith("image/")) throw new Error(strings().widgets.notPicture(file instanceof File ? file.name : "?"));
  const stored = await send<Stored>("api/v1/files", file);
  const { choices, loadChoices } = useCatalog.getState();
  if (choices.input) await loadChoices("input");
  return stored;
}

/** Store a picture that a job made, so that a workflow can name it. */
export async function storeOutput(sha256: string): Promise<Stored> {
  const response = await fetch(contentUrl(sha256)).catch((error) => {
    throw new Unreachable(String(error));
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return storePicture(await response.blob());
}

/** The picture among files that were dropped or pasted; none: null. */
export function pictureIn(data: DataTransfer): File | null {
  return [...data.files].find((file) => file.type.startsWith("image/")) ?? null;
}

/** The picture in the clipboard, where the browser lets a page look. */
export async function clipboardPicture(): Promise<Blob | null> {
  for (const item of await navigator.clipboard.read()) {
    const type = item.types.find((type) => type.startsWith("image/"));
    if (type) return item.getType(type);
  }
  return null;
}
