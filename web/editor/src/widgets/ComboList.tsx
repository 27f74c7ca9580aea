import { useLayoutEffect, useRef } from "react";
import { useStrings } from "../strings";
import { baseOf } from "./filter";
import type { Combo } from "./useCombo";
import { NONE } from "./useCombo";

const WIDTH = 300;
const HEIGHT = 340;

interface Props {
  id: string;
  label: string;
  combo: Combo;
  chosen: string;
}

/** The names that fit, below their field and above everything else; more of them come as it is scrolled. */
export function ComboList({ id, label, combo, chosen }: Props) {
  const words = useStrings().widgets;
  const popup = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (popup.current && combo.field.current) place(popup.current, combo.field.current);
  }, [combo.field]);
  useLayoutEffect(() => {
    popup.current?.querySelector('[data-at="true"]')?.scrollIntoView?.({ block: "nearest" });
  }, [combo.at, combo.query]);
  let row = combo.names[0] === NONE ? 1 : 0;
  return (
    <div
      ref={popup}
      className="combo-popup"
      popover="manual"
      onPointerDown={(event) => event.preventDefault()}
      onScroll={({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) =>
        scrollTop + clientHeight > scrollHeight - 80 && combo.limit < combo.names.length && combo.more()
      }
    >
      <div id={`${id}-list`} role="listbox" aria-label={label}>
        {combo.names[0] === NONE && (
          <Row id={`${id}-0`} name={words.none} at={combo.at === 0} chosen={false} onChoose={() => combo.choose(NONE)} />
        )}
        {combo.folders.map(({ folder, names }) => {
          const start = row;
          row += names.length;
          const visible = names.slice(0, Math.max(0, combo.limit - start));
          if (visible.length === 0) return null;
          return (
            <div key={folder} role="group" aria-label={folder || label}>
              {folder && <div className="combo-folder" aria-hidden="true">{folder}</div>}
              {visible.map((name, n) => (
                <Row
                  key={name}
                  id={`${id}-${start + n}`}
                  name={baseOf(name)}
                  at={combo.at === start + n}
                  chosen={name === chosen}
                  onChoose={() => combo.choose(name)}
                />
              ))}
            </div>
          );
        })}
      </div>
      <p className="combo-count" role="status">
        {combo.names.length ? words.matches(combo.names.length) : combo.query ? words.noMatch : words.nothingThere}
      </p>
    </div>
  );
}

function Row({ id, name, at, chosen, onChoose }: { id: string; name: string; at: boolean; chosen: boolean; onChoose(): void }) {
  return (
    <div id={id} role="option" className="combo-row" aria-selected={chosen} data-at={at} title={name} onClick={onChoose}>
      {name}
    </div>
  );
}

/** Below the field, or above it where there is more room. */
function place(popup: HTMLElement, field: HTMLElement) {
  const box = field.getBoundingClientRect();
  const below = innerHeight - box.bottom - 8;
  const above = box.top - 8;
  const up = below < 200 && above > below;
  const width = Math.min(Math.max(box.width, WIDTH), innerWidth - 16);
  Object.assign(popup.style, {
    width: `${width}px`,
    left: `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`,
    top: up ? "auto" : `${box.bottom + 4}px`,
    bottom: up ? `${innerHeight - box.top + 4}px` : "auto",
    maxHeight: `${Math.min(HEIGHT, up ? above : below)}px`,
  });
  popup.showPopover?.();
}
