import type { KeyboardEvent, PointerEvent, RefObject, WheelEvent } from "react";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "react";
import { useStrings } from "../../strings";
import { IconButton } from "../IconButton";
import { ICONS } from "../icons";
import { stroke } from "./draw";
import type { Ground } from "./ground";
import type { Point, Stroke, Tool } from "./strokes";
import type { View } from "./view";
import { fitted, shifted, toPicture, zoomed } from "./view";

interface Props {
  ground: Ground;
  canvas: RefObject<HTMLCanvasElement | null>;
  tool: Tool;
  width: number;
  onStroke(stroke: Stroke): void;
  /** A stroke that was begun turned out to be the first of two fingers. */
  onDiscard(): void;
}

const RIGHT = 2;
const MIDDLE = 1;
const NOTCH = 1.2;
const PIXELS_FROM = 6;

/** The picture with the mask over it, to paint on, to zoom and to move. */
export function Surface({ ground, canvas, tool, width, onStroke, onDiscard }: Props) {
  const words = useStrings().widgets;
  const help = useId();
  const frame = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<View>({ scale: 1, x: 0, y: 0 });
  const [brush, setBrush] = useState<Point | null>(null);
  const hands = useRef(new Map<number, Point>());
  const current = useRef<Stroke | null>(null);
  const space = useRef(false);

  const fit = () => frame.current && setView(fitted(ground, { width: frame.current.clientWidth, height: frame.current.clientHeight }));
  useLayoutEffect(() => void fit(), [ground]);
  useEffect(() => {
    const watch = new ResizeObserver(() => fit());
    if (frame.current) watch.observe(frame.current);
    return () => watch.disconnect();
  }, [ground]);

  const inFrame = ({ clientX, clientY }: { clientX: number; clientY: number }): Point => {
    const box = frame.current?.getBoundingClientRect();
    return { x: clientX - (box?.left ?? 0), y: clientY - (box?.top ?? 0) };
  };
  const pen = () => canvas.current?.getContext("2d", { willReadFrequently: true }) ?? null;
  const extend = (points: Point[]) => {
    const old = current.current;
    if (!old) return;
    const next = { ...old, points: [...old.points, ...points] };
    current.current = next;
    const ink = pen();
    if (ink) stroke(ink, next, Math.max(0, old.points.length - 1));
  };
  const finish = () => {
    const done = current.current;
    current.current = null;
    if (done?.points.length) onStroke(done);
  };

  const down = (event: PointerEvent<HTMLDivElement>) => {
    event.preventDefault();
    frame.current?.focus();
    event.currentTarget.setPointerCapture(event.pointerId);
    hands.current.set(event.pointerId, inFrame(event));
    if (hands.current.size > 1) {
      current.current = null;
      return onDiscard();
    }
    if (event.button === MIDDLE || space.current) return;
    const kind = event.button === RIGHT || event.buttons & 32 ? "erase" : tool;
    current.current = { kind, width, points: [] };
    extend([toPicture(view, inFrame(event))]);
  };
  const go = (event: PointerEvent<HTMLDivElement>) => {
    const at = inFrame(event);
    setBrush(at);
    const before = hands.current.get(event.pointerId);
    if (!before) return;
    if (current.current) {
      const passed = event.nativeEvent.getCoalescedEvents?.() ?? [];
      extend((passed.length ? passed : [event]).map((one) => toPicture(view, inFrame(one))));
    } else setView((view) => shifted(view, hands.current, event.pointerId, before, at));
    hands.current.set(event.pointerId, at);
  };
  const up = (event: PointerEvent<HTMLDivElement>) => {
    hands.current.delete(event.pointerId);
    finish();
  };
  const wheel = (event: WheelEvent) => {
    const { deltaY } = event;
    const at = inFrame(event);
    setView((view) => zoomed(view, at, Math.exp(-deltaY / 400)));
  };
  const centre = (): Point => ({ x: (frame.current?.clientWidth ?? 0) / 2, y: (frame.current?.clientHeight ?? 0) / 2 });
  const zoom = (factor: number) => setView((view) => zoomed(view, centre(), factor));

  const press = (event: KeyboardEvent) => {
    const by = Math.max(1, width / 4) * view.scale;
    const steps: Record<string, Point> = {
      ArrowLeft: { x: -by, y: 0 },
      ArrowRight: { x: by, y: 0 },
      ArrowUp: { x: 0, y: -by },
      ArrowDown: { x: 0, y: by },
    };
    const step = steps[event.key];
    const from = brush ?? centre();
    if (step) {
      const to = { x: from.x + step.x, y: from.y + step.y };
      setBrush(to);
      if (event.shiftKey) onStroke({ kind: tool, width, points: [toPicture(view, from), toPicture(view, to)] });
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) onStroke({ kind: tool, width, points: [toPicture(view, from)] });
    else if (event.key === " ") space.current = true;
    else if (event.key === "+") zoom(NOTCH);
    else if (event.key === "-") zoom(1 / NOTCH);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  };
  const size = width * view.scale;
  return (
    <div className="surface">
      <div
        ref={frame}
        className="surface-frame"
        role="application"
        tabIndex={0}
        aria-label={words.canvas}
        aria-describedby={help}
        onPointerDown={down}
        onPointerMove={go}
        onPointerUp={up}
        onPointerCancel={up}
        onPointerLeave={() => setBrush(null)}
        onWheel={wheel}
        onContextMenu={(event) => event.preventDefault()}
        onKeyDown={press}
        onKeyUp={(event) => event.key === " " && (space.current = false)}
        onBlur={() => (space.current = false)}
      >
        <div className="surface-stage" style={{ transform: `translate(${view.x}px, ${view.y}px) scale(${view.scale})`, width: ground.width, height: ground.height }}>
          <img src={ground.url} alt="" draggable={false} data-pixels={view.scale > PIXELS_FROM || undefined} />
          <canvas ref={canvas} width={ground.width} height={ground.height} />
        </div>
        {brush && <div className="surface-brush" style={{ width: size, height: size, left: brush.x - size / 2, top: brush.y - size / 2 }} />}
      </div>
      <div className="surface-zoom">
        <IconButton label={words.zoomOut} path={ICONS.zoomOut} onClick={() => zoom(1 / NOTCH)} />
        <output>{Math.round(view.scale * 100)} %</output>
        <IconButton label={words.zoomIn} path={ICONS.zoomIn} onClick={() => zoom(NOTCH)} />
        <IconButton label={words.fit} path={ICONS.fit} onClick={() => void fit()} />
      </div>
      <p id={help} className="hidden">
        {words.canvasHelp}
      </p>
    </div>
  );
}
