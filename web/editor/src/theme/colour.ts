/** Colours that can be told from what they are drawn on, in both themes. */

/** The canvas in the light theme: --surface-0 in theme.css. */
export const LIGHT = "#e9ebef";
/** The least contrast of what carries a meaning, by WCAG 1.4.11. */
const LEAST = 3;
const FINE = 32;

const parts = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);

const linear = (part: number) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);

/** The relative luminance of #rrggbb, by WCAG. */
function luminance(hex: string): number {
  const [red = 0, green = 0, blue = 0] = parts(hex).map(linear);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** The contrast of two colours, 1..21, by WCAG. */
export function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

function darker(hex: string, part: number): string {
  return `#${parts(hex).map((one) => Math.round(255 * one * part).toString(16).padStart(2, "0")).join("")}`;
}

/** A colour #rrggbb for both themes: in the light one it is as dark as it has to be. What is no such colour stays. */
export function inBothThemes(hex: string): string {
  if (!/^#[0-9a-f]{6}$/i.test(hex)) return hex;
  const shades = Array.from({ length: FINE }, (_, n) => darker(hex, 1 - n / FINE));
  return `light-dark(${shades.find((shade) => contrast(shade, LIGHT) >= LEAST) ?? "#000000"}, ${hex})`;
}
