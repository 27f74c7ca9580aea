import type { WidgetProps } from "./registry";

export function SwitchWidget({ id, port, value, onChange, disabled }: WidgetProps) {
  return (
    <input
      id={id}
      className="switch"
      type="checkbox"
      role="switch"
      checked={Boolean(value ?? port.default)}
      disabled={disabled}
      onChange={(event) => onChange(event.target.checked)}
    />
  );
}
