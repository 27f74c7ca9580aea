/** Numbers as a port takes them. Integers beyond 2^53-1 are text, digit for digit, as the document writes them. */

import type { InputPort } from "../api/client";
import { evaluate } from "./expression";

/** What the document holds. */
export type Figure = number | string;

/** Why a text is not taken, and what would be, nearest first. */
export interface Refusal {
  reason: "notNumber" | "notWhole" | "below" | "above" | "multiple";
  bound?: string;
  nearest: Figure[];
}

export type Reading = { value: Figure } | { refusal: Refusal };

type Bounds = Pick<InputPort, "kind" | "minimum" | "maximum" | "multiple_of">;

const WHOLE = /^[+-]?\d+$/;

/** Read what was typed: a number, or a sum of numbers. */
export function readNumber(port: Bounds, text: string): Reading {
  const plain = text.normalize("NFKC").trim();
  const dotted = /^[^.,]*,[^.,]*$/.test(plain) ? plain.replace(",", ".") : plain;
  if (port.kind === "INT") return readWhole(port, dotted);
  const value = evaluate(dotted);
  if (value === null) return { refusal: { reason: "notNumber", nearest: [] } };
  return checked(port, rounded(value));
}

function readWhole(port: Bounds, text: string): Reading {
  if (WHOLE.test(text)) return checkedWhole(port, BigInt(text.replace("+", "")));
  const value = evaluate(text);
  if (value === null) return { refusal: { reason: "notNumber", nearest: [] } };
  if (Number.isSafeInteger(value)) return checkedWhole(port, BigInt(value));
  const nearest = [Math.floor(value), Math.ceil(value)].filter((near) => Number.isSafeInteger(near) && fits(port, near));
  return { refusal: { reason: "notWhole", nearest } };
}

/** An integer in the form that the document holds. */
export function written(value: bigint): Figure {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}

/** A bound of an INT. One beyond 2^53 came through a float, which rounds 2^64-1 up to 2^64. */
function whole(bound: number): bigint {
  return bound > Number.MAX_SAFE_INTEGER ? BigInt(bound) - 1n : BigInt(Math.trunc(bound));
}

function checkedWhole(port: Bounds, value: bigint): Reading {
  const low = port.minimum === null ? null : whole(port.minimum);
  const high = port.maximum === null ? null : whole(port.maximum);
  if (low !== null && value < low) return refused("below", String(low), [written(low)]);
  if (high !== null && value > high) return refused("above", String(high), [written(high)]);
  const step = port.multiple_of ? BigInt(port.multiple_of) : 1n;
  if (value % step === 0n) return { value: written(value) };
  const lower = floored(value, step);
  const near = [lower, lower + step].filter((n) => (low === null || n >= low) && (high === null || n <= high));
  return refused("multiple", String(step), near.map(written));
}

function checked(port: Bounds, value: number): Reading {
  const { minimum, maximum, multiple_of: step } = port;
  if (minimum !== null && value < minimum) return refused("below", String(minimum), [minimum]);
  if (maximum !== null && value > maximum) return refused("above", String(maximum), [maximum]);
  if (!step || Math.abs(value / step - Math.round(value / step)) < 1e-9) return { value };
  const lower = Math.floor(value / step) * step;
  return refused("multiple", String(step), [lower, lower + step].map(rounded).filter((near) => fits(port, near)));
}

function refused(reason: Refusal["reason"], bound: string, nearest: Figure[]): Reading {
  return { refusal: { reason, bound, nearest } };
}

const fits = ({ minimum, maximum }: Bounds, value: number) =>
  (minimum === null || value >= minimum) && (maximum === null || value <= maximum);

/** Without the last digits of 0.1 + 0.2. */
const rounded = (value: number) => Number(value.toPrecision(12));

/** How far an arrow key goes. */
export function stepOf(port: Bounds): number {
  if (port.multiple_of) return port.multiple_of;
  if (port.kind === "INT") return 1;
  const span = port.minimum !== null && port.maximum !== null ? port.maximum - port.minimum : Infinity;
  return span <= 2 ? 0.01 : span <= 20 ? 0.05 : 0.1;
}

/** The value some steps further, within the bounds; floats stay on multiples of the step. */
export function nudged(port: Bounds, value: Figure, steps: number): Figure {
  const step = stepOf(port);
  if (port.kind !== "INT") {
    const on = (Math.round(Number(value) / step) + Math.round(steps)) * step;
    const fine = Math.abs(steps) < 1 ? Number(value) + steps * step : on;
    return clamped(port, rounded(fine));
  }
  const by = BigInt(step);
  const old = BigInt(value);
  const lower = floored(old, by);
  const moved = (steps < 0 && lower !== old ? lower + by : lower) + BigInt(Math.trunc(steps) || Math.sign(steps)) * by;
  const reading = checkedWhole(port, moved);
  if ("value" in reading) return reading.value;
  return reading.refusal.reason === "multiple" ? (reading.refusal.nearest[0] ?? value) : onStep(port, moved, by);
}

const floored = (value: bigint, step: bigint) => value - (((value % step) + step) % step);

/** The bound that was run into, or the multiple nearest inside it. */
function onStep(port: Bounds, moved: bigint, by: bigint): Figure {
  const low = port.minimum === null ? null : whole(port.minimum);
  if (low !== null && moved < low) return written(low % by === 0n ? low : (low / by + 1n) * by);
  const high = whole(port.maximum as number);
  return written(high - (high % by));
}

function clamped({ minimum, maximum }: Bounds, value: number): number {
  return Math.min(maximum ?? Infinity, Math.max(minimum ?? -Infinity, value));
}

/** Whether a slider helps: the whole range is within reach of a hand. */
export function slides(port: Pick<InputPort, "kind" | "minimum" | "maximum" | "widget">): boolean {
  if (port.minimum === null || port.maximum === null) return false;
  return port.widget === "slider" || (port.kind === "FLOAT" && port.maximum - port.minimum <= 2);
}

/** The range as text: `1 – 10000`. Empty without bounds. */
export function rangeOf({ kind, minimum, maximum }: Bounds): string {
  const show = (bound: number) => (kind === "INT" ? String(whole(bound)) : String(bound));
  if (minimum !== null && maximum !== null) return `${show(minimum)} – ${show(maximum)}`;
  return minimum !== null ? `≥ ${show(minimum)}` : maximum !== null ? `≤ ${show(maximum)}` : "";
}
