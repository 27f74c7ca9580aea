import { useStrings } from "../strings";
import { isMissing, useOffer } from "./choices";
import { ComboList } from "./ComboList";
import { baseOf } from "./filter";
import { faultProps } from "./framed";
import { IconButton } from "./IconButton";
import { ICONS } from "./icons";
import type { WidgetProps } from "./widget";
import { useCombo } from "./useCombo";

/** One of many names: typed words narrow them, arrow keys choose, folders are told apart, a missing name is kept. */
export function ComboWidget(props: WidgetProps) {
  const { id, port, value, onChange, disabled } = props;
  const words = useStrings().widgets;
  const offer = useOffer(port);
  const held = value === undefined ? port.default : value;
  const shown = typeof held === "string" ? held : "";
  const missing = isMissing(shown, offer);
  const combo = useCombo({ names: offer.choices, shown, none: port.optional, onChoose: onChange });
  const placeholder = port.optional && held === null ? words.none : words.choose;
  return (
    <div className="widget-row">
      <div className="combo" ref={combo.root}>
        <input
          ref={combo.field}
          id={id}
          className="field combo-field"
          type="text"
          role="combobox"
          aria-expanded={combo.open}
          aria-controls={combo.open ? `${id}-list` : undefined}
          aria-activedescendant={combo.open && combo.names.length ? `${id}-${combo.at}` : undefined}
          aria-autocomplete="list"
          autoComplete="off"
          spellCheck={false}
          value={combo.query ?? (combo.focused ? shown : baseOf(shown))}
          placeholder={placeholder}
          disabled={disabled}
          title={missing ? words.missing(shown) : (props.fault ?? shown)}
          {...faultProps(props)}
          aria-invalid={missing || Boolean(props.fault) || undefined}
          onChange={(event) => combo.type(event.target.value)}
          onFocus={combo.focus}
          onBlur={combo.blur}
          onClick={combo.show}
          onKeyDown={combo.press}
        />
        {combo.open && <ComboList id={id} label={port.name} combo={combo} chosen={shown} />}
      </div>
      {offer.refresh && (
        <IconButton label={words.refresh} path={ICONS.again} disabled={disabled} onClick={offer.refresh} />
      )}
      {missing && <span className="hidden">{words.missing(shown)}</span>}
    </div>
  );
}
