import { useStrings } from "../strings";
import { isMissing, useOffer } from "./choices";
import { faultProps } from "./framed";
import type { WidgetProps } from "./widget";

const NONE = "\0none";

/** One of a few choices. */
export function ChoiceWidget(props: WidgetProps) {
  const { id, port, value, onChange, disabled } = props;
  const words = useStrings().widgets;
  const offer = useOffer(port);
  const held = value === undefined ? port.default : value;
  const shown = held === null || held === undefined ? (port.optional ? NONE : "") : String(held);
  const missing = shown !== NONE && isMissing(shown, offer);
  return (
    <select
      id={id}
      className="field"
      value={shown}
      disabled={disabled}
      title={missing ? words.missing(shown) : props.fault}
      {...faultProps(props)}
      aria-invalid={missing || Boolean(props.fault) || undefined}
      onChange={({ target }) => onChange(target.value === NONE ? null : target.value)}
    >
      {port.optional && <option value={NONE}>{words.none}</option>}
      {shown === "" && <option value="">{words.choose}</option>}
      {missing && <option value={shown}>{shown}</option>}
      {offer.choices.map((choice) => (
        <option key={choice} value={choice}>
          {choice}
        </option>
      ))}
    </select>
  );
}
