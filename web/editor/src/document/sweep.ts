/** The axes of a sweep: named inputs with the values that a person writes or ticks. */

import type { InputPort } from "../api/client";

export interface Axis {
  /** The name of the input. */
  input: string;
  /** Numbers and ranges, or one text per line. */
  text: string;
  /** The choices that are ticked. */
  ticked: readonly string[];
}

/** A sweep starts with at most as many cells from the editor, and it shows as many; the API takes more. */
export const MAX_CELLS = 1000;
export const MAX_AXES = 3;

export const newAxis = (input: string): Axis => ({ input, text: "", ticked: [] });

type Entry = "numbers" | "lines" | "ticks";

const ENTRIES = new Map<string, Entry>([
  ["INT", "numbers"],
  ["FLOAT", "numbers"],
  ["STRING", "lines"],
  ["BOOLEAN", "ticks"],
  ["CHOICE", "ticks"],
  ["MODEL_FILE", "ticks"],
]);

/** How the values of a port are given; undefined: not at all. */
export function entryOf({ kind, is_list }: Pick<InputPort, "kind" | "is_list">): Entry | undefined {
  return is_list ? undefined : ENTRIES.get(kind);
}

export interface Values {
  /** Each once; cut where there are more than MAX_CELLS. */
  values: unknown[];
  count: number;
  /** What stands there and is no value. */
  wrong: string[];
}

/** The values of an axis for a port. */
export function valuesOf(port: Pick<InputPort, "kind" | "is_list">, axis: Axis): Values {
  switch (entryOf(port)) {
    case "numbers":
      return numbers(axis.text, port.kind === "INT");
    case "lines":
      return once(axis.text.split("\n").map((line) => line.trim()).filter(Boolean));
    case "ticks":
      return once(port.kind === "BOOLEAN" ? axis.ticked.map((text) => text === "true") : axis.ticked);
    default:
      return { values: [], count: 0, wrong: [] };
  }
}

function once(all: readonly unknown[]): Values {
  const values = [...new Set(all)];
  return { values, count: values.length, wrong: [] };
}

const BETWEEN = /[\s,;，；、]+/;
const RANGE = /^([+-]?\d{1,20})\.\.([+-]?\d{1,20})$/;
const INTEGER = /^[+-]?\d{1,20}$/;
const FRACTION = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Numbers between commas or spaces; `1..4` stands for 1, 2, 3, 4. */
function numbers(text: string, whole: boolean): Values {
  const found = new Set<number | string>();
  const wrong: string[] = [];
  let beyond = 0;
  for (const part of text.split(BETWEEN).filter(Boolean)) {
    const range = RANGE.exec(part);
    if (range) beyond += addRange(found, integer(range[1]), integer(range[2]));
    else if (whole && INTEGER.test(part)) found.add(plain(integer(part)));
    else if (!whole && FRACTION.test(part) && Number.isFinite(Number(part))) found.add(Number(part));
    else wrong.push(part);
  }
  return { values: [...found], count: found.size + beyond, wrong };
}

/** Add the numbers of a range, up to MAX_CELLS of them, and tell how many are left out. */
function addRange(found: Set<number | string>, first: bigint, last: bigint): number {
  const step = last < first ? -1n : 1n;
  const length = Number((last - first) * step) + 1;
  for (let n = 0; n < Math.min(length, MAX_CELLS); n++) found.add(plain(first + step * BigInt(n)));
  return Math.max(0, length - MAX_CELLS);
}

const integer = (text = "0"): bigint => BigInt(text.replace(/^\+/, ""));

/** As the document has it: what a number of JavaScript cannot hold is text. */
function plain(value: bigint): number | string {
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
}

/** How many cells there are for axes with so many values. */
export const cellCount = (counts: readonly number[]): number => (counts.length ? counts.reduce((all, count) => all * count, 1) : 0);

/** The value as people read it. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}
