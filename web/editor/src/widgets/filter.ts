/** Which of many names fit what was typed. */

import MiniSearch from "minisearch";

export interface Folder {
  /** Empty: at the top. */
  folder: string;
  names: string[];
}

/**
 * The names that hold every word, whatever the case and order; those whose file name begins with the first come first.
 * If there is none, the names that hold every word but for slips: one in four letters, two in six.
 */
export function matching(names: readonly string[], query: string): string[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const [first] = words;
  if (first === undefined) return [...names];
  const found = names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  if (found.length === 0) return alike(names, query);
  const begins = (name: string) => (baseOf(name).toLowerCase().startsWith(first) ? 0 : 1);
  return found.sort((a, b) => begins(a) - begins(b));
}

function alike(names: readonly string[], query: string): string[] {
  const index = new MiniSearch({ fields: ["name"], tokenize: (text) => text.split(/[^\p{L}\p{N}]+/u).filter(Boolean) });
  index.addAll(names.map((name, id) => ({ id, name })));
  const found = index.search(query, { combineWith: "AND", prefix: true, fuzzy: (term) => (term.length > 3 ? 0.34 : false) });
  return found.flatMap(({ id }) => names[id as number] ?? []);
}

/** Names by their folder, in the order in which the folders come. */
export function byFolder(names: readonly string[]): Folder[] {
  const folders = new Map<string, string[]>();
  for (const name of names) {
    const folder = folderOf(name);
    const known = folders.get(folder);
    if (known) known.push(name);
    else folders.set(folder, [name]);
  }
  const made = [...folders].map(([folder, names]) => ({ folder, names }));
  return made.sort((a, b) => Number(a.folder !== "") - Number(b.folder !== ""));
}

export const baseOf = (name: string) => name.slice(name.lastIndexOf("/") + 1);
export const folderOf = (name: string) => name.slice(0, Math.max(0, name.lastIndexOf("/")));

const HASH = /^([0-9a-f]{8})[0-9a-f]{56}(?=\.|$)/;

/** A file's name for people: without its folder, and of a hash only what tells it from others. */
export const shortOf = (name: string) => baseOf(name).replace(HASH, "$1…");
