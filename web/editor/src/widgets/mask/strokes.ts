/** What was painted, as a list of acts: the mask is the first picture with all of them done to it. Pure. */

export interface Point {
  x: number;
  y: number;
}

export type Tool = "paint" | "erase";

/** In pixels of the picture. */
export interface Stroke {
  kind: Tool;
  width: number;
  points: readonly Point[];
}

export type Act = Stroke | { kind: "clear" | "fill" | "invert" };

export interface Painting {
  done: readonly Act[];
  /** The newest last. */
  undone: readonly Act[];
}

export const blank: Painting = { done: [], undone: [] };

export type Move = { do: "act"; act: Act } | { do: "undo" } | { do: "redo" };

/** The painting after a move. A new act ends what could be done again. */
export function moved(painting: Painting, move: Move): Painting {
  const { done, undone } = painting;
  switch (move.do) {
    case "act":
      return { done: [...done, move.act], undone: [] };
    case "undo":
      return done.length ? { done: done.slice(0, -1), undone: [...undone, done.at(-1) as Act] } : painting;
    case "redo":
      return undone.length ? { done: [...done, undone.at(-1) as Act], undone: undone.slice(0, -1) } : painting;
  }
}

export const MIN_BRUSH = 1;
export const MAX_BRUSH = 1024;

/** A brush a notch larger or smaller: a tenth, one pixel at least. */
export function resized(width: number, notches: number): number {
  const by = Math.max(1, Math.round(width / 10)) * notches;
  return Math.min(MAX_BRUSH, Math.max(MIN_BRUSH, width + by));
}
