import type { NodeSpec } from "../api/client";

/** The node types that hold every word of a text, the best first: by the start of the name, by its letters, by help. */
export function ranked(specs: readonly NodeSpec[], text: string): NodeSpec[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const scored = specs.map((spec) => ({ spec, score: words.reduce((sum, word) => sum + scoreOf(spec, word), 0) }));
  return scored
    .filter(({ score }) => score > -Infinity)
    .sort((a, b) => b.score - a.score || order(a.spec, b.spec))
    .map(({ spec }) => spec);
}

function order(a: NodeSpec, b: NodeSpec): number {
  return a.category.localeCompare(b.category) || a.type.localeCompare(b.type);
}

function scoreOf({ type, category, help }: NodeSpec, word: string): number {
  const name = (type.split("/").pop() ?? type).toLowerCase();
  if (name === word) return 100;
  if (name.startsWith(word)) return 80;
  if (initials(type).startsWith(word)) return 60;
  if (name.includes(word)) return 50;
  if (type.toLowerCase().includes(word) || category.toLowerCase().includes(word)) return 30;
  if (within(name, word)) return 20;
  return help.toLowerCase().includes(word) ? 10 : -Infinity;
}

/** The first letters of a name's words: ks for KSampler, vd for VAEDecode. */
const initials = (type: string) =>
  (type.match(/[A-Z]+(?![a-z])|[A-Z][a-z0-9]*/g) ?? []).map((word) => word.charAt(0)).join("").toLowerCase();

/** Whether the letters stand in the name in that order. */
function within(name: string, letters: string): boolean {
  let at = 0;
  for (const letter of letters) {
    at = name.indexOf(letter, at) + 1;
    if (at === 0) return false;
  }
  return letters.length > 2;
}
