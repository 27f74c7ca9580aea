import type { WidgetProps } from "./registry";

export function MultilineWidget({ id, port, value, onChange, disabled }: WidgetProps) {
  return (
    <textarea
      id={id}
      className="field field-multiline"
      rows={3}
      spellCheck={false}
      value={String(value ?? port.default ?? "")}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
