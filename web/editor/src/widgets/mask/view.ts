/** Where a picture lies in its frame: screen = picture * scale + (x, y). Pure. */

import type { Point } from "./strokes";

export type { Point };

export interface View extends Point {
  scale: number;
}

export interface Extent {
  width: number;
  height: number;
}

const MARGIN = 16;
const MAX_SCALE = 32;

/** The whole picture in the middle, as large as it goes. */
export function fitted(picture: Extent, frame: Extent): View {
  const scale = Math.max(
    0.01,
    Math.min((frame.width - 2 * MARGIN) / picture.width, (frame.height - 2 * MARGIN) / picture.height, MAX_SCALE),
  );
  return { scale, x: (frame.width - picture.width * scale) / 2, y: (frame.height - picture.height * scale) / 2 };
}

/** Nearer or further by a factor, with what is below `at` staying there. */
export function zoomed(view: View, at: Point, factor: number): View {
  const scale = Math.min(MAX_SCALE, Math.max(0.02, view.scale * factor));
  const by = scale / view.scale;
  return { scale, x: at.x - (at.x - view.x) * by, y: at.y - (at.y - view.y) * by };
}

export const panned = (view: View, by: Point): View => ({ ...view, x: view.x + by.x, y: view.y + by.y });

export const toPicture = (view: View, at: Point): Point => ({
  x: (at.x - view.x) / view.scale,
  y: (at.y - view.y) / view.scale,
});

/** The view after a hand moved: one hand moves the picture, two zoom it as well. */
export function shifted(view: View, hands: ReadonlyMap<number, Point>, moving: number, before: Point, at: Point): View {
  const other = [...hands].find(([id]) => id !== moving)?.[1];
  const by = { x: at.x - before.x, y: at.y - before.y };
  if (!other) return panned(view, by);
  const half = { x: by.x / 2, y: by.y / 2 };
  const far = (point: Point) => Math.hypot(point.x - other.x, point.y - other.y);
  return zoomed(panned(view, half), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 }, far(at) / Math.max(1, far(before)));
}
