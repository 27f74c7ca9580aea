import { useEffect, useState } from "react";
import { useStrings } from "../strings";
import { faultProps } from "./framed";
import { readJson } from "./json";
import type { WidgetProps } from "./widget";

/** Any value as JSON. A text that is none stays in the field, with the reason; the document keeps its value. */
export function JsonWidget(props: WidgetProps) {
  const words = useStrings().widgets;
  const { id, port, value, onChange, disabled } = props;
  const held = value === undefined ? port.default : value;
  const shown = held === null && value === undefined ? "" : (JSON.stringify(held, null, 1) ?? "");
  const [text, setText] = useState(shown);
  useEffect(() => setText((text) => (sameValue(text, shown) ? text : shown)), [shown]);
  const parsed = readJson(text);
  const wrong =
    text.trim() === "" || "value" in parsed
      ? null
      : "wrong" in parsed
        ? words.notJson(parsed.wrong)
        : words.unsafe(parsed.unsafe);
  const type = (next: string) => {
    setText(next);
    const parsed = readJson(next);
    if (next.trim() === "") onChange(undefined);
    else if ("value" in parsed) onChange(parsed.value);
  };
  return (
    <div>
      <textarea
        id={id}
        className="field field-code"
        rows={Math.min(10, Math.max(2, text.split("\n").length))}
        spellCheck={false}
        value={text}
        disabled={disabled}
        title={props.fault}
        {...faultProps(props, wrong ? `${id}-wrong` : undefined)}
        aria-invalid={wrong !== null || Boolean(props.fault) || undefined}
        onChange={(event) => type(event.target.value)}
      />
      {wrong && (
        <p className="widget-refusal" id={`${id}-wrong`} role="alert">
          {wrong}
        </p>
      )}
    </div>
  );
}

/** Whether a text is another writing of what is shown. */
function sameValue(text: string, shown: string): boolean {
  const [a, b] = [readJson(text), readJson(shown)];
  return "value" in a && "value" in b && JSON.stringify(a.value) === JSON.stringify(b.value);
}
