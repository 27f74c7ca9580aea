import { useStrings } from "../strings";
import { faultProps } from "./framed";
import type { WidgetProps } from "./widget";

export function TextWidget(props: WidgetProps) {
  const words = useStrings().widgets;
  const { id, port, value, onChange, disabled } = props;
  const hint = typeof port.default === "string" && port.default ? words.default(port.default) : undefined;
  return (
    <input
      id={id}
      className="field"
      type="text"
      value={String(value ?? port.default ?? "")}
      maxLength={port.max_length ?? undefined}
      disabled={disabled}
      title={props.fault ?? hint}
      {...faultProps(props)}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
