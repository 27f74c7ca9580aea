import type { KeyboardEvent, RefObject, SyntheticEvent } from "react";
import { useEffect, useRef } from "react";
import { composes } from "./keys";

/** Give the focus back to where it was when a component goes. */
export function useFocusBack(): void {
  useEffect(() => {
    const before = document.activeElement;
    return () => {
      if (before instanceof HTMLElement && document.activeElement === document.body) before.focus({ preventScroll: true });
    };
  }, []);
}

interface Handlers {
  onKeyDown(event: KeyboardEvent): void;
  onCancel(event: SyntheticEvent): void;
}

/** A dialog above everything else, as long as its component is shown. It asks to be closed by `close` and closes nothing itself. */
export function useModal(close: () => void): [RefObject<HTMLDialogElement | null>, Handlers] {
  const dialog = useRef<HTMLDialogElement>(null);
  useFocusBack();
  useEffect(() => dialog.current?.showModal(), []);
  const handlers: Handlers = {
    onKeyDown(event) {
      if (event.key !== "Escape" || event.defaultPrevented || composes(event)) return;
      event.preventDefault(); // else a browser closes it at the second Escape, whatever is asked for
      close();
    },
    onCancel(event) {
      if (event.target !== dialog.current) return; // that of a file chooser inside
      event.preventDefault();
      close();
    },
  };
  return [dialog, handlers];
}
