import { useEffect, useState } from "react";
import { useStrings } from "../strings";
import { faultProps } from "./framed";
import type { WidgetProps } from "./widget";

const COLOUR = /^#[0-9a-f]{6}$/i;

/** A colour as #rrggbb: picked, or typed. */
export function ColourWidget(props: WidgetProps) {
  const words = useStrings().widgets;
  const { id, port, value, onChange, disabled } = props;
  const shown = String(value ?? port.default ?? "");
  const [text, setText] = useState(shown);
  useEffect(() => setText(shown), [shown]);
  const wrong = text !== "" && !COLOUR.test(text);
  const type = (next: string) => {
    setText(next);
    if (COLOUR.test(next)) onChange(next.toLowerCase());
  };
  return (
    <div className="widget-row">
      <input
        className="swatch"
        type="color"
        value={COLOUR.test(shown) ? shown : "#000000"}
        disabled={disabled}
        aria-label={words.pickColour(port.name)}
        onChange={(event) => type(event.target.value)}
      />
      <input
        id={id}
        className="field"
        type="text"
        value={text}
        disabled={disabled}
        title={wrong ? words.notColour : props.fault}
        {...faultProps(props)}
        aria-invalid={wrong || Boolean(props.fault) || undefined}
        onChange={(event) => type(event.target.value.trim())}
      />
    </div>
  );
}
