import type { KeyboardEvent } from "react";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { byFolder, matching } from "./filter";
import { composes } from "./keys";

/** The row for None. */
export const NONE = "";

const PAGE = 100;

interface Options {
  names: readonly string[];
  shown: string;
  /** Whether None is among the choices. */
  none: boolean;
  onChoose(name: string | null): void;
}

export type Combo = ReturnType<typeof useCombo>;

/** What a searchable list knows: whether it is open, what was typed, which names fit and which of them is chosen by keys. */
export function useCombo({ names, shown, none, onChoose }: Options) {
  const root = useRef<HTMLDivElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const [open, setOpen] = useState(false);
  const [focused, setFocused] = useState(false);
  const [query, setQuery] = useState<string | null>(null);
  const [at, setAt] = useState(0);
  const [limit, setLimit] = useState(PAGE);
  const folders = useMemo(() => (open ? byFolder(matching(names, query ?? "")) : []), [open, names, query]);
  const found = useMemo(() => {
    const all = folders.flatMap((folder) => folder.names);
    return none && !query ? [NONE, ...all] : all;
  }, [folders, none, query]);

  const show = () => {
    if (open) return;
    setOpen(true);
    setQuery(null);
    const all = byFolder(names).flatMap((folder) => folder.names);
    const start = all.indexOf(shown) + Number(none);
    setAt(Math.max(0, start));
    setLimit(Math.max(PAGE, start + PAGE));
  };
  useLayoutEffect(() => {
    if (focused) field.current?.select(); // the whole name took the place of its end
  }, [focused]);
  const close = () => (setOpen(false), setQuery(null));
  const choose = (name: string | undefined) => {
    if (name !== undefined) onChoose(name === NONE ? null : name);
    close();
  };
  const go = (to: number) => {
    const next = Math.min(found.length - 1, Math.max(0, to));
    setAt(next);
    if (next >= limit - 1) setLimit(next + PAGE);
  };
  useEffect(() => {
    if (!open) return;
    const stop = new AbortController();
    const away = (event: Event) => event.target instanceof Node && !root.current?.contains(event.target) && close();
    for (const name of ["pointerdown", "wheel"]) addEventListener(name, away, { capture: true, signal: stop.signal });
    addEventListener("resize", close, { signal: stop.signal });
    return () => stop.abort();
  }, [open]);

  return {
    root,
    field,
    open,
    focused,
    query,
    folders,
    names: found,
    at,
    limit,
    show,
    choose,
    go,
    more: () => setLimit((limit) => limit + PAGE),
    type(text: string) {
      if (!open) show();
      setQuery(text);
      setAt(0);
      setLimit(PAGE);
    },
    focus: () => setFocused(true),
    blur() {
      setFocused(false);
      close();
    },
    press(event: KeyboardEvent) {
      if (composes(event)) return;
      const acts: Record<string, () => void> = open
        ? {
            ArrowDown: () => go(at + 1),
            ArrowUp: () => go(at - 1),
            PageDown: () => go(at + 10),
            PageUp: () => go(at - 10),
            Enter: () => choose(found[at]),
            Escape: close,
          }
        : { ArrowDown: show, ArrowUp: show, Enter: show };
      const act = acts[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    },
  };
}
