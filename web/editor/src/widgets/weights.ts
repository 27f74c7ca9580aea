/** Weights in prompts, `(words:1.1)`, as both prompt grammars read them. */

export interface Selected {
  text: string;
  start: number;
  end: number;
}

const STEP = 0.1;
const NUMBER = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)`;
const INSIDE = new RegExp(String.raw`^:\s*(${NUMBER})\s*\)`);
const WHOLE = new RegExp(String.raw`^\(([\s\S]*):\s*(${NUMBER})\s*\)$`);
const EDGES = /[\s,.()[\]{}<>:;|\\/"!?]/;

/** Change the weight of the selected words, or of the word at the caret, by some steps of 0.1. */
export function weighed(prompt: Selected, steps: number): Selected {
  const words = wordsOf(prompt);
  if (words.start === words.end) return prompt;
  const { text, start, end } = withoutBrackets(words);
  const found = enclosing(text, start, end);
  const weight = Math.round(((found?.weight ?? 1) + steps * STEP) * 100) / 100;
  const from = found?.from ?? start;
  const to = found?.to ?? end;
  const inner = text.slice(start, end);
  const plain = Math.abs(weight - 1) < 1e-9;
  const put = plain ? inner : `(${inner}:${weight})`;
  const at = from + (plain ? 0 : 1);
  return { text: text.slice(0, from) + put + text.slice(to), start: at, end: at + inner.length };
}

/** The selection without white space at its ends; the word at the caret when nothing is selected. */
function wordsOf({ text, start, end }: Selected): Selected {
  if (start !== end) {
    const chosen = text.slice(start, end);
    const from = start + (chosen.length - chosen.trimStart().length);
    return { text, start: from, end: Math.max(from, start + chosen.trimEnd().length) };
  }
  while (start > 0 && !EDGES.test(text[start - 1] as string)) start--;
  while (end < text.length && !EDGES.test(text[end] as string)) end++;
  return { text, start, end };
}

/** A selection of a whole `(words:1.2)` means its words. */
function withoutBrackets({ text, start, end }: Selected): Selected {
  const match = WHOLE.exec(text.slice(start, end));
  if (!match || !balanced(match[1] as string)) return { text, start, end };
  return { text, start: start + 1, end: start + 1 + (match[1] as string).length };
}

function balanced(text: string): boolean {
  let depth = 0;
  for (const [bracket] of text.matchAll(/\\[\s\S]|[()]/g)) {
    if (bracket === "(") depth++;
    if (bracket === ")" && --depth < 0) return false;
  }
  return depth === 0;
}

/** The brackets directly around the words, with their weight. */
function enclosing(text: string, start: number, end: number): { weight: number; from: number; to: number } | null {
  if (text[start - 1] !== "(" || text[start - 2] === "\\") return null;
  const explicit = INSIDE.exec(text.slice(end));
  if (explicit) return { weight: Number(explicit[1]), from: start - 1, to: end + explicit[0].length };
  return text[end] === ")" ? { weight: 1.1, from: start - 1, to: end + 1 } : null;
}
