import type { KeyboardEvent } from "react";
import { useLayoutEffect, useRef } from "react";
import { useStrings } from "../strings";
import { faultProps } from "./framed";
import type { WidgetProps } from "./widget";
import { useTokens } from "./useTokens";
import { weighed } from "./weights";

const ROWS = { least: 3, most: 14 };

/** A text that grows with its lines; a prompt tells its tokens, and Ctrl with an arrow weighs its words. */
export function MultilineWidget(props: WidgetProps) {
  const words = useStrings().widgets;
  const { id, port, node, value, onChange, disabled } = props;
  const text = String(value ?? port.default ?? "");
  const area = useRef<HTMLTextAreaElement>(null);
  const chosen = useRef<[number, number] | null>(null);
  const count = useTokens(node, text);
  useLayoutEffect(() => {
    if (chosen.current) area.current?.setSelectionRange(...chosen.current);
    chosen.current = null;
  }, [text]);

  const press = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    const up = event.key === "ArrowUp";
    if (!(event.ctrlKey || event.metaKey) || (!up && event.key !== "ArrowDown")) return;
    event.preventDefault();
    const { selectionStart: start, selectionEnd: end } = event.currentTarget;
    const next = weighed({ text, start, end }, up ? 1 : -1);
    chosen.current = [next.start, next.end];
    if (next.text !== text) onChange(next.text);
  };
  const lines = text.split("\n").length;
  return (
    <div className="widget-text">
      <textarea
        ref={area}
        id={id}
        className="field field-multiline"
        rows={Math.min(ROWS.most, Math.max(ROWS.least, lines))}
        spellCheck={false}
        maxLength={port.max_length ?? undefined}
        value={text}
        disabled={disabled}
        title={props.fault ?? (count ? words.weightHint : undefined)}
        {...faultProps(props)}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={press}
      />
      {count && (
        <div className="widget-count" data-long={count.parts > 1 || undefined}>
          {count.unknown.length > 0 && (
            <span className="widget-unknown" title={words.unknownWords(count.unknown.join(", "))}>
              {words.unknownWords(count.unknown.join(", "))}
            </span>
          )}
          <span>
            {words.tokens(count.used, count.room)}
            {count.parts > 1 && <>, {words.tokenParts(count.parts)}</>}
          </span>
        </div>
      )}
    </div>
  );
}
