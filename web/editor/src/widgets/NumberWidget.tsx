import type { KeyboardEvent } from "react";
import { useRef } from "react";
import { useStrings } from "../strings";
import { faultProps } from "./framed";
import { composes } from "./keys";
import type { Figure } from "./number";
import { rangeOf, slides, stepOf } from "./number";
import { Refused } from "./Refused";
import type { WidgetProps } from "./widget";
import { useFigure } from "./useFigure";
import { useScrub } from "./useScrub";

/** A number within its bounds: typed, as a sum too, by arrow keys, by dragging its label, or on a slider. */
export function NumberWidget(props: WidgetProps) {
  const { id, port, disabled } = props;
  const words = useStrings().widgets;
  const field = useRef<HTMLInputElement>(null);
  const figure = useFigure(props);
  const start = useRef<Figure>("");
  useScrub(field, !disabled, {
    start: () => void (start.current = figure.held),
    move: (steps) => figure.nudge(steps, start.current),
  });
  const refusalId = figure.refusal ? `${id}-refusal` : undefined;
  const hint = [rangeOf(port), port.multiple_of && words.stepHint(String(port.multiple_of)), defaultHint(props, words.default)];
  return (
    <div className="widget-number">
      <div className="widget-row">
        {slides(port) && (
          <input
            className="slider"
            type="range"
            min={port.minimum ?? undefined}
            max={port.maximum ?? undefined}
            step={stepOf(port)}
            value={Number(figure.held)}
            disabled={disabled}
            aria-label={words.slider(port.name)}
            onChange={(event) => figure.put(Number(event.target.value))}
          />
        )}
        <input
          ref={field}
          id={id}
          className="field field-number"
          type="text"
          inputMode={port.kind === "INT" ? "numeric" : "decimal"}
          autoComplete="off"
          value={figure.text}
          disabled={disabled}
          title={[...hint.filter(Boolean), props.fault].filter(Boolean).join(" · ") || undefined}
          {...faultProps(props, refusalId)}
          aria-invalid={figure.wrong || Boolean(props.fault) || undefined}
          onChange={(event) => figure.type(event.target.value)}
          onBlur={figure.settle}
          onKeyDown={(event) => pressed(event, figure)}
        />
      </div>
      {figure.refusal && (
        <Refused id={refusalId as string} refusal={figure.refusal} held={figure.held} onTake={figure.put} />
      )}
    </div>
  );
}

function defaultHint({ port }: WidgetProps, say: (value: string) => string): string | null {
  return port.required || port.default === null ? null : say(String(port.default));
}

/** What keys do in a number field. Alt is a tenth of a step, Shift ten steps, a page a hundred. */
export function pressed(event: KeyboardEvent, figure: ReturnType<typeof useFigure>): void {
  const size = event.shiftKey ? 10 : event.altKey ? 0.1 : 1;
  const act: Record<string, () => void> = {
    ArrowUp: () => figure.nudge(size),
    ArrowDown: () => figure.nudge(-size),
    PageUp: () => figure.nudge(100),
    PageDown: () => figure.nudge(-100),
    Enter: figure.settle,
    Escape: figure.restore,
  };
  const found = act[event.key];
  if (!found || event.ctrlKey || event.metaKey || composes(event)) return;
  if (event.key !== "Enter") event.preventDefault();
  if (event.key !== "Escape" || figure.wrong) event.stopPropagation();
  found();
}
