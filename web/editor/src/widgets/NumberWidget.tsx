import { useEffect, useState } from "react";
import type { WidgetProps } from "./registry";

/** A number within its bounds; integers beyond 2^53-1 stay text, as the document writes them. */
export function NumberWidget({ id, port, value, onChange, disabled }: WidgetProps) {
  const shown = String(value ?? port.default ?? "");
  const [text, setText] = useState(shown);
  useEffect(() => setText(shown), [shown]);

  const change = (next: string) => {
    setText(next);
    if (next.trim() === "") onChange(undefined);
    else if (port.kind === "INT" && /^-?\d+$/.test(next)) onChange(Number.isSafeInteger(Number(next)) ? Number(next) : next);
    else if (port.kind === "FLOAT" && Number.isFinite(Number(next))) onChange(Number(next));
  };
  return (
    <input
      id={id}
      className="field"
      type="text"
      inputMode={port.kind === "INT" ? "numeric" : "decimal"}
      value={text}
      disabled={disabled}
      onChange={(event) => change(event.target.value)}
      onBlur={() => setText(shown)}
    />
  );
}
