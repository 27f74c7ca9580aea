import type { InputPort } from "../api/client";
import { useStrings } from "../strings";
import { IconButton } from "./IconButton";
import { ICONS } from "./icons";
import type { Widget, WidgetProps } from "./widget";

const FIRST: Record<string, unknown> = { STRING: "", BOOLEAN: false };

/** The widget of a list of plain values, each with the widget of its kind. */
export function listWidget(widgetOf: (port: InputPort) => Widget): Widget {
  return function ListWidget({ id, port, value, onChange, disabled }: WidgetProps) {
    const words = useStrings().widgets;
    const held = value === undefined ? port.default : value;
    const items: readonly unknown[] = Array.isArray(held) ? held : [];
    const one = { ...port, is_list: false, optional: false, required: true, default: null };
    const Item = widgetOf(one);
    const put = (at: number, ...next: unknown[]) => onChange(items.toSpliced(at, next.length && at < items.length ? 1 : 0, ...next));
    return (
      <div className="widget-list">
        {items.map((item, at) => (
          <div className="widget-row" key={at}>
            {at > 0 && (
              <label className="hidden" htmlFor={`${id}-${at}`}>
                {words.item(port.name, at + 1)}
              </label>
            )}
            <div className="widget-grow">
              <Item
                id={at > 0 ? `${id}-${at}` : id}
                port={one}
                value={item}
                disabled={disabled}
                onChange={(next) => put(at, next ?? item)}
              />
            </div>
            <IconButton
              label={words.removeItem(at + 1)}
              path={ICONS.cross}
              disabled={disabled}
              onClick={() => onChange(items.toSpliced(at, 1))}
            />
          </div>
        ))}
        <button
          id={items.length ? undefined : id}
          type="button"
          className="button widget-add"
          aria-label={words.addItem(port.name)}
          disabled={disabled}
          onClick={() => put(items.length, FIRST[port.kind] ?? port.choices[0] ?? port.minimum ?? 0)}
        >
          + {words.addItem(port.name)}
        </button>
      </div>
    );
  }
}
