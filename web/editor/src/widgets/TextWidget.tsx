import type { WidgetProps } from "./registry";

export function TextWidget({ id, port, value, onChange, disabled }: WidgetProps) {
  return (
    <input
      id={id}
      className="field"
      type="text"
      value={String(value ?? port.default ?? "")}
      maxLength={port.max_length ?? undefined}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
