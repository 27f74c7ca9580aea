import type { KeyboardEvent, ReactNode } from "react";
import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import { useStrings } from "../../strings";
import { IconButton } from "../IconButton";
import { ICONS } from "../icons";
import { redraw } from "./draw";
import type { Ground } from "./ground";
import type { Act, Tool } from "./strokes";
import { blank, MAX_BRUSH, MIN_BRUSH, moved, resized } from "./strokes";
import { Surface } from "./Surface";

interface Props {
  ground: Ground;
  /** Further choices for the bar. */
  choices: ReactNode;
  onSave(mask: HTMLCanvasElement): Promise<void>;
  onCancel(): void;
  /** Told whether there is something that would be lost. */
  onPainted(painted: boolean): void;
}

/** The tools, and the surface that they work on. */
export function Painter({ ground, choices, onSave, onCancel, onPainted }: Props) {
  const words = useStrings().widgets;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [painting, move] = useReducer(moved, blank);
  const [tool, setTool] = useState<Tool>("paint");
  const [width, setWidth] = useState(() => Math.max(4, Math.round(Math.min(ground.width, ground.height) / 10)));
  const [saving, setSaving] = useState(false);
  const show = useCallback(() => {
    const pen = canvas.current?.getContext("2d", { willReadFrequently: true });
    if (pen) redraw(pen, ground.mask, painting.done);
  }, [ground, painting.done]);
  useEffect(show, [show]);
  const painted = painting.done.length > 0;
  useEffect(() => onPainted(painted), [onPainted, painted]);

  const act = (act: Act) => move({ do: "act", act });
  const save = async () => {
    setSaving(true);
    await onSave(canvas.current as HTMLCanvasElement);
    setSaving(false);
  };
  const keys: Record<string, () => void> = {
    b: () => setTool("paint"),
    e: () => setTool("erase"),
    x: () => setTool(tool === "paint" ? "erase" : "paint"),
    "[": () => setWidth((width) => resized(width, -1)),
    "]": () => setWidth((width) => resized(width, 1)),
    i: () => act({ kind: "invert" }),
    "mod+z": () => move({ do: "undo" }),
    "mod+shift+z": () => move({ do: "redo" }),
    "mod+y": () => move({ do: "redo" }),
    "mod+enter": () => void save(),
  };
  const press = (event: KeyboardEvent) => {
    const mod = event.ctrlKey || event.metaKey ? "mod+" : "";
    const found = keys[mod + (mod && event.shiftKey ? "shift+" : "") + event.key.toLowerCase()];
    if (!found || event.target instanceof HTMLSelectElement) return;
    event.preventDefault();
    found();
  };
  return (
    <div className="painter" onKeyDown={press}>
      <div className="painter-bar">
        <div className="painter-group">
          <IconButton label={words.brush} pressed={tool === "paint"} path={ICONS.brush} onClick={() => setTool("paint")} />
          <IconButton label={words.eraser} pressed={tool === "erase"} path={ICONS.eraser} onClick={() => setTool("erase")} />
        </div>
        <label className="painter-size">
          <span className="quiet">{words.brushSize}</span>
          <input
            className="slider"
            type="range"
            min={MIN_BRUSH}
            max={Math.min(MAX_BRUSH, Math.max(ground.width, ground.height) / 2)}
            value={width}
            onChange={(event) => setWidth(Number(event.target.value))}
          />
          <output>{width}</output>
        </label>
        <div className="painter-group">
          <IconButton label={words.undo} path={ICONS.undo} disabled={!painting.done.length} onClick={keys["mod+z"] as () => void} />
          <IconButton label={words.redo} path={ICONS.redo} disabled={!painting.undone.length} onClick={keys["mod+y"] as () => void} />
        </div>
        <div className="painter-group">
          <IconButton label={words.clearMask} path={ICONS.clear} onClick={() => act({ kind: "clear" })} />
          <IconButton label={words.fillMask} path={ICONS.fill} onClick={() => act({ kind: "fill" })} />
          <IconButton label={words.invertMask} path={ICONS.invert} onClick={keys.i as () => void} />
        </div>
        {choices}
      </div>
      <Surface ground={ground} canvas={canvas} tool={tool} width={width} onStroke={act} onDiscard={show} />
      <footer className="painter-foot">
        <p className="quiet">
          {words.maskHelp} {words.canvasHelp}
        </p>
        <button type="button" className="button" onClick={onCancel}>
          {words.cancel}
        </button>
        <button type="button" className="button-primary" disabled={saving} onClick={() => void save()}>
          {words.useMask}
        </button>
      </footer>
    </div>
  );
}
