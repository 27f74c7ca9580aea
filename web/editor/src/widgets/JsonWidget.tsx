import { useEffect, useState } from "react";
import { useStrings } from "../strings";
import type { WidgetProps } from "./registry";

export function JsonWidget({ id, port, value, onChange, disabled }: WidgetProps) {
  const words = useStrings().widgets;
  const shown = JSON.stringify(value === undefined ? port.default : value) ?? "";
  const [text, setText] = useState(shown);
  const [wrong, setWrong] = useState(false);
  useEffect(() => setText(shown), [shown]);

  const change = (next: string) => {
    setText(next);
    try {
      onChange(next.trim() === "" ? undefined : JSON.parse(next));
      setWrong(false);
    } catch {
      setWrong(true);
    }
  };
  return (
    <textarea
      id={id}
      className="field field-code"
      rows={2}
      spellCheck={false}
      value={text}
      disabled={disabled}
      aria-invalid={wrong}
      title={wrong ? words.notJson : undefined}
      onChange={(event) => change(event.target.value)}
    />
  );
}
