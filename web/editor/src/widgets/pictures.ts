/** Pictures on their way to the server. */

import type { Schemas } from "../api/client";
import { contentOf, send } from "../api/client";
import { useCatalog } from "../store/catalog";
import { strings } from "../strings";
import { shownKeys } from "./keys";

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
  return storePicture(await contentOf(sha256));
}

/** The picture among files that were dropped or pasted; none: null. */
export function pictureIn(data: DataTransfer): File | null {
  return [...data.files].find((file) => file.type.startsWith("image/")) ?? null;
}

/** The picture in the clipboard; none: null. Raises Error where the browser does not let a page look. */
export async function clipboardPicture(): Promise<Blob | null> {
  const items = await navigator.clipboard?.read().catch(() => undefined); // over plain http there is no clipboard
  if (!items) throw new Error(strings().canvas.pasteByKey(shownKeys("Mod+V")));
  for (const item of items) {
    const type = item.types.find((type) => type.startsWith("image/"));
    if (type) return item.getType(type);
  }
  return null;
}
