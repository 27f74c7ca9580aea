import type { RefObject } from "react";
import { useEffect, useRef } from "react";

const PIXELS = 4;

/** Dragging on a field's label changes it: `move` gets the steps since `start`. Shift is ten times as far. */
export function useScrub(field: RefObject<HTMLInputElement | null>, enabled: boolean, on: { start(): void; move(steps: number): void }) {
  const latest = useRef(on);
  useEffect(() => void (latest.current = on));
  useEffect(() => {
    const labels = enabled && field.current ? labelsOf(field.current) : [];
    const stops = labels.map((label) => scrubbed(label, latest));
    return () => stops.forEach((stop) => stop());
  }, [field, enabled]);
}

/** The labels that stand nearest to a field. `field.labels` looks through the whole page, for each of thousands of fields. */
function labelsOf(field: HTMLElement): HTMLLabelElement[] {
  for (let around = field.parentElement; around; around = around.parentElement) {
    const found = [...around.querySelectorAll("label")].filter((label) => label.htmlFor === field.id);
    if (found.length > 0) return found;
  }
  return [];
}

function scrubbed(label: HTMLLabelElement, on: RefObject<{ start(): void; move(steps: number): void }>): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  let from: number | null = null;
  let moved = false;
  label.classList.add("scrub", "nodrag");
  const listen = <K extends keyof HTMLElementEventMap>(name: K, act: (event: HTMLElementEventMap[K]) => void) =>
    label.addEventListener(name, act, { signal });
  listen("pointerdown", (event) => {
    if (event.button !== 0) return;
    label.setPointerCapture(event.pointerId);
    [from, moved] = [event.clientX, false];
    on.current.start();
  });
  listen("pointermove", (event) => {
    const steps = from === null ? 0 : Math.trunc((event.clientX - from) / PIXELS);
    moved ||= steps !== 0;
    if (moved && from !== null) on.current.move(event.shiftKey ? steps * 10 : steps);
  });
  listen("pointerup", () => (from = null));
  listen("pointercancel", () => (from = null));
  listen("click", (event) => moved && event.preventDefault());
  return () => (stop.abort(), label.classList.remove("scrub", "nodrag"));
}
