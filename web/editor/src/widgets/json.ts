/** JSON that people type. */

export type Parsed = { value: unknown } | { wrong: string } | { unsafe: string };

const TEXT = /"(?:\\.|[^"\\])*"/g;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Read a text; `unsafe` is an integer that JSON readers would round. */
export function readJson(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { wrong: error instanceof Error ? error.message : String(error) };
  }
  const numbers = text.replace(TEXT, '""').match(NUMBER) ?? [];
  const unsafe = numbers.find((number) => /^-?\d+$/.test(number) && !Number.isSafeInteger(Number(number)));
  return unsafe === undefined ? { value } : { unsafe };
}
