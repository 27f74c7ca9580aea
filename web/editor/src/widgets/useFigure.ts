import { useEffect, useState } from "react";
import type { Figure, Refusal } from "./number";
import { nudged, readNumber } from "./number";
import type { WidgetProps } from "./widget";

const PLAIN = /^\s*[+-]?(\d+\.?\d*|\.\d+)\s*$/;

/**
 * The text of a number field and what the document holds. A plain number that is allowed goes into the document as it is
 * typed, a sum when the field is left; what is not allowed stays in the field, with the reason, until it is mended.
 */
export function useFigure({ port, value, onChange }: Pick<WidgetProps, "port" | "value" | "onChange">) {
  const held = value === undefined ? port.default : value;
  const shown = held === null || held === undefined ? "" : String(held);
  const [text, setText] = useState(shown);
  const [typing, setTyping] = useState(false);
  useEffect(() => setText((text) => (sameAs(port, text, shown) ? text : shown)), [port, shown]);

  const reading = readNumber(port, text);
  const refusal: Refusal | null = text.trim() !== "" && "refusal" in reading ? reading.refusal : null;
  const put = (figure: Figure) => {
    setText(String(figure));
    setTyping(false);
    if (figure !== value) onChange(figure);
  };
  return {
    text,
    held: shown,
    refusal: typing ? null : refusal,
    wrong: refusal !== null,
    put,
    type(next: string) {
      setText(next);
      setTyping(true);
      const reading = readNumber(port, next);
      if (PLAIN.test(next) && "value" in reading) onChange(reading.value);
    },
    settle() {
      setTyping(false);
      if (text.trim() === "") {
        setText(shown);
        if (value !== undefined) onChange(undefined);
      } else if ("value" in reading) put(reading.value);
    },
    restore() {
      setTyping(false);
      setText(shown);
    },
    nudge(steps: number, from: Figure = "value" in reading ? reading.value : shown) {
      if (readable(from)) put(nudged(port, from, steps));
    },
  };
}

const readable = (figure: Figure) => figure !== "" && Number.isFinite(Number(figure));

/** Whether a text means what is shown already: 1.50 is 1.5. */
function sameAs(port: WidgetProps["port"], text: string, shown: string): boolean {
  const reading = readNumber(port, text);
  return "value" in reading && String(reading.value) === shown;
}
