import { faultProps } from "./framed";
import type { WidgetProps } from "./widget";

export function SwitchWidget(props: WidgetProps) {
  const { id, port, value, onChange, disabled } = props;
  return (
    <input
      id={id}
      className="switch"
      type="checkbox"
      role="switch"
      checked={Boolean(value ?? port.default)}
      disabled={disabled}
      title={props.fault}
      {...faultProps(props)}
      onChange={(event) => onChange(event.target.checked)}
    />
  );
}
