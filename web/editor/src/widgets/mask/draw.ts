/** Painting onto a canvas whose opaque part is what will be repainted. */

import type { Reading } from "../../document/masks";
import type { Act, Stroke } from "./strokes";
import type { Extent } from "./view";

type Pen = CanvasRenderingContext2D;

const BYTES = 4;

/** The colour in which the mask is seen; what counts is how opaque it is. */
const INK = [255, 45, 122] as const;
const INK_CSS = `rgb(${INK.join(" ")})`;

/** Do an act to what the canvas shows. */
export function perform(pen: Pen, act: Act): void {
  const { width, height } = pen.canvas;
  pen.fillStyle = pen.strokeStyle = INK_CSS;
  switch (act.kind) {
    case "clear":
      return pen.clearRect(0, 0, width, height);
    case "fill":
      pen.globalCompositeOperation = "source-over";
      return pen.fillRect(0, 0, width, height);
    case "invert":
      pen.globalCompositeOperation = "source-out";
      return pen.fillRect(0, 0, width, height);
    default:
      return stroke(pen, act);
  }
}

/** Draw a stroke from its point `from` on. */
export function stroke(pen: Pen, { kind, width, points }: Stroke, from = 0): void {
  const [first, ...rest] = points.slice(from);
  if (first === undefined) return;
  pen.globalCompositeOperation = kind === "erase" ? "destination-out" : "source-over";
  pen.fillStyle = pen.strokeStyle = INK_CSS;
  Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: width });
  pen.beginPath();
  pen.moveTo(first.x, first.y);
  for (const point of rest.length ? rest : [first]) pen.lineTo(point.x, point.y);
  pen.stroke();
}

/** Everything anew: the mask as it was found, and all acts. */
export function redraw(pen: Pen, base: ImageData | null, acts: readonly Act[]): void {
  pen.clearRect(0, 0, pen.canvas.width, pen.canvas.height);
  if (base) pen.putImageData(base, 0, 0);
  for (const act of acts) perform(pen, act);
}

type Pixel = readonly [red: number, green: number, blue: number, alpha: number];

/** How a mask node reads a pixel, 0..255, as its channels are named. */
const CHANNELS: Record<string, (pixel: Pixel) => number> = {
  luminance: ([red, green, blue]) => 0.2126 * red + 0.7152 * green + 0.0722 * blue, // ITU-R BT.709
  alpha: ([, , , alpha]) => 255 - alpha,
  red: ([red]) => red,
  green: ([, green]) => green,
  blue: ([, , blue]) => blue,
};

/** A picture as a mask to go on with, read as its node does: what is repainted is opaque. Raises when it cannot be read. */
export async function maskFrom(url: string, { width, height }: Extent, { channel, invert }: Reading): Promise<ImageData> {
  const picture = await pictureAt(url);
  const pen = penOf(width, height);
  pen.drawImage(picture, 0, 0, width, height);
  const data = pen.getImageData(0, 0, width, height);
  const bytes = data.data;
  const read = CHANNELS[channel] as (pixel: Pixel) => number;
  for (let at = 0; at < bytes.length; at += BYTES) {
    const value = read(bytes.subarray(at, at + BYTES) as unknown as Pixel);
    bytes.set([...INK, invert ? 255 - value : value], at);
  }
  return data;
}

/** The mask as an opaque PNG of its own: white is repainted, black is kept. The picture below is never touched. */
export async function pngOf(mask: HTMLCanvasElement): Promise<Blob> {
  const pen = penOf(mask.width, mask.height);
  pen.drawImage(mask, 0, 0);
  for (const [composite, colour] of [
    ["source-in", "#fff"],
    ["destination-over", "#000"],
  ] as const) {
    pen.globalCompositeOperation = composite;
    pen.fillStyle = colour;
    pen.fillRect(0, 0, mask.width, mask.height);
  }
  return new Promise((done, failed) =>
    pen.canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the mask is too large"))), "image/png"),
  );
}

export async function pictureAt(url: string): Promise<HTMLImageElement> {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  return picture;
}

function penOf(width: number, height: number): Pen {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { willReadFrequently: true }) as Pen;
}

