import type { PointerEvent } from "react";
import { useEffect, useImperativeHandle, useRef, useState } from "react";
import type { Ref } from "react";
import { useStrings } from "../strings";
import { IconButton } from "../widgets/IconButton";
import { ICONS } from "../widgets/icons";
import type { Extent, Point, View } from "../widgets/mask/view";
import { fitted, panned, shifted, zoomed } from "../widgets/mask/view";

const NOTCH = 1.25;
const STEP = 60; // px that a key moves
const PIXELS_FROM = 6;

/** What the keys of a dialog do with the picture in it. */
export interface Zooming {
  /** Whether the key was one of these. */
  press(key: string, shift: boolean): boolean;
}

interface Props {
  url: string;
  alt: string;
  size: Extent;
  ref: Ref<Zooming>;
}

/** A picture that fits its frame until it is zoomed: with the wheel, two fingers, keys or buttons; it is moved by dragging. */
export function ZoomedPicture({ url, alt, size, ref }: Props) {
  const words = useStrings().widgets;
  const frame = useRef<HTMLDivElement>(null);
  const hands = useRef(new Map<number, Point>());
  const [extent, setExtent] = useState<Extent>({ width: 0, height: 0 });
  const [moved, setMoved] = useState<View | null>(null); // null: it fits
  const whole = fitted(size, extent);
  const view = moved ?? whole;
  const change = (to: (view: View) => View) => setMoved((before) => to(before ?? whole));

  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => entry && setExtent(entry.contentRect));
    if (frame.current) watch.observe(frame.current);
    return () => watch.disconnect();
  }, []);
  const inFrame = ({ clientX, clientY }: { clientX: number; clientY: number }): Point => {
    const box = frame.current?.getBoundingClientRect();
    return { x: clientX - (box?.left ?? 0), y: clientY - (box?.top ?? 0) };
  };
  useEffect(() => {
    const element = frame.current;
    const wheel = (event: WheelEvent) => {
      event.preventDefault(); // a browser zooms the page with Ctrl; React's listeners cannot prevent it
      change((view) => zoomed(view, inFrame(event), Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400))));
    };
    element?.addEventListener("wheel", wheel, { passive: false });
    return () => element?.removeEventListener("wheel", wheel);
  });
  const centre = { x: extent.width / 2, y: extent.height / 2 };
  const zoom = (factor: number) => change((view) => zoomed(view, centre, factor));
  const fit = () => setMoved(null);
  const natural = (at: Point) => (moved ? fit() : change((view) => zoomed(view, at, 1 / view.scale)));

  useImperativeHandle(ref, () => ({
    press(key, shift) {
      const steps: Record<string, Point> = {
        ArrowLeft: { x: STEP, y: 0 },
        ArrowRight: { x: -STEP, y: 0 },
        ArrowUp: { x: 0, y: STEP },
        ArrowDown: { x: 0, y: -STEP },
      };
      const by = shift ? steps[key] : undefined;
      if (by) change((view) => panned(view, by));
      else if (key === "+" || key === "=") zoom(NOTCH);
      else if (key === "-") zoom(1 / NOTCH);
      else if (key === "0") fit();
      else if (key === "1") change((view) => zoomed(view, centre, 1 / view.scale));
      else return false;
      return true;
    },
  }));

  const down = (event: PointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    hands.current.set(event.pointerId, inFrame(event));
  };
  const go = (event: PointerEvent<HTMLDivElement>) => {
    const before = hands.current.get(event.pointerId);
    if (!before) return;
    const at = inFrame(event);
    const others = new Map(hands.current);
    hands.current.set(event.pointerId, at);
    change((view) => shifted(view, others, event.pointerId, before, at));
  };
  const up = (event: PointerEvent<HTMLDivElement>) => void hands.current.delete(event.pointerId);
  const style = {
    width: size.width,
    height: size.height,
    transform: `translate(${view.x}px, ${view.y}px) scale(${view.scale})`,
  };
  return (
    <>
      <div
        ref={frame}
        className="zoomed"
        onPointerDown={down}
        onPointerMove={go}
        onPointerUp={up}
        onPointerCancel={up}
        onDoubleClick={(event) => natural(inFrame(event))}
      >
        <img src={url} alt={alt} draggable={false} style={style} data-pixels={view.scale > PIXELS_FROM || undefined} />
      </div>
      <div className="surface-zoom">
        <IconButton label={words.zoomOut} path={ICONS.zoomOut} onClick={() => zoom(1 / NOTCH)} />
        <output>{Math.round(view.scale * 100)} %</output>
        <IconButton label={words.zoomIn} path={ICONS.zoomIn} onClick={() => zoom(NOTCH)} />
        <IconButton label={words.fit} path={ICONS.fit} onClick={fit} />
      </div>
    </>
  );
}
