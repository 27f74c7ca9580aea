/** Where boxes go when they are aligned, spread or framed. */

import type { Box, Point } from "./types";

export type Boxes = ReadonlyMap<string, Box>;
export type Arrangement = "alignLeft" | "alignTop" | "spreadDown" | "spreadRight";

const GAP = 24;

export function arranged(boxes: Boxes, how: Arrangement): Map<string, Point> {
  const all = [...boxes];
  const left = Math.min(...all.map(([, box]) => box.x));
  const top = Math.min(...all.map(([, box]) => box.y));
  switch (how) {
    case "alignLeft":
      return new Map(all.map(([id, { y }]) => [id, { x: left, y }]));
    case "alignTop":
      return new Map(all.map(([id, { x }]) => [id, { x, y: top }]));
    case "spreadDown": {
      const places = spread(all.map(([id, { y, height }]) => [id, y, height]));
      return new Map(all.map(([id, { x }]) => [id, { x, y: places.get(id) ?? top }]));
    }
    case "spreadRight": {
      const places = spread(all.map(([id, { x, width }]) => [id, x, width]));
      return new Map(all.map(([id, { y }]) => [id, { x: places.get(id) ?? left, y }]));
    }
  }
}

/** One after another, in their order, with the same gap between them. */
function spread(items: [string, number, number][]): Map<string, number> {
  const sorted = items.toSorted((a, b) => a[1] - b[1]);
  const places = new Map<string, number>();
  let at = sorted[0]?.[1] ?? 0;
  for (const [id, , length] of sorted) {
    places.set(id, at);
    at += length + GAP;
  }
  return places;
}

const MARGIN = 24;
const TITLE = 36;

/** The frame of a group around boxes. */
export function frame(boxes: Boxes): Box {
  const all = [...boxes.values()];
  const x = Math.min(...all.map((box) => box.x)) - MARGIN;
  const y = Math.min(...all.map((box) => box.y)) - MARGIN - TITLE;
  return {
    x,
    y,
    width: Math.max(...all.map((box) => box.x + box.width)) + MARGIN - x,
    height: Math.max(...all.map((box) => box.y + box.height)) + MARGIN - y,
  };
}

/** The boxes whose middle is in a frame. */
export function inside(outer: Box, boxes: Boxes): string[] {
  return [...boxes].flatMap(([id, { x, y, width, height }]) => {
    const [cx, cy] = [x + width / 2, y + height / 2];
    const within = cx > outer.x && cx < outer.x + outer.width && cy > outer.y && cy < outer.y + outer.height;
    return within ? [id] : [];
  });
}
