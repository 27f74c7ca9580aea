import { useEffect } from "react";
import { activeTab } from "../store/workspace";
import { chordOf, composes, inOrder } from "../widgets/keys";
import type { Action } from "./actions";
import { ACTIONS, applies, clipping, pasteText, removeSelected } from "./actions";
import { takeFiles } from "./files";
import { useCanvas } from "./state";

const CLIPBOARD = new Set<Action["id"]>(["copy", "cut", "paste", "pasteLinked"]);

const BY_CHORD = new Map(ACTIONS.flatMap((action) => action.keys.map((chord) => [inOrder(chord), action] as const)));

/** A dialog has all keys for itself. */
const isAsked = () => document.querySelector("dialog[open]") !== null;

function editing(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable], dialog") !== null;
}

/** Keys that mean something else where they are pressed: in a menu, on a button, in a panel, in what names them in `data-keys`. */
function isElsewhere(event: KeyboardEvent): boolean {
  const { key, target } = event;
  const own = target instanceof Element ? target.closest<HTMLElement>("[data-keys]")?.dataset.keys : undefined;
  if (own?.split(" ").includes(chordOf(event))) return true;
  if ((key !== "Enter" && key !== "Escape") || !(target instanceof Element)) return false;
  if (useCanvas.getState().menu || (key === "Enter" && target.closest("button, a, summary"))) return true;
  return target !== document.body && target.closest("main") === null;
}

/** Even in a field these are meant for the workflow. */
const EVERYWHERE = new Set<Action["id"]>(["save", "saveAs", "run", "runFront", "runTo", "cancel"]);

/** Listen to keys and to the clipboard while the editor is shown. */
export function useShortcuts() {
  useEffect(() => {
    const ended = new AbortController();
    const { signal } = ended;
    let shift = false;

    const onKey = (event: KeyboardEvent) => {
      shift = event.shiftKey;
      const action = BY_CHORD.get(chordOf(event));
      if (!action || CLIPBOARD.has(action.id) || composes(event)) return;
      if (isAsked() || useCanvas.getState().palette) return;
      if (editing(event.target) && !EVERYWHERE.has(action.id)) return;
      if (isElsewhere(event)) return;
      if (!applies(action, activeTab().document.getState().selection)) return;
      event.preventDefault();
      event.stopPropagation(); // React Flow takes Ctrl+Enter on a node for a change of the selection
      action.run();
    };
    const onCopy = (event: ClipboardEvent) => {
      if (editing(event.target) || !activeTab().document.getState().selection.size || window.getSelection()?.toString()) return;
      event.clipboardData?.setData("text/plain", clipping());
      event.preventDefault();
      if (event.type === "cut") removeSelected();
    };
    const onPaste = (event: ClipboardEvent) => {
      if (editing(event.target)) return;
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) takeFiles(files);
      else if (!pasteText(event.clipboardData?.getData("text/plain") ?? "", shift)) return;
      event.preventDefault();
    };

    document.addEventListener("keydown", onKey, { signal, capture: true });
    document.addEventListener("copy", onCopy, { signal });
    document.addEventListener("cut", onCopy, { signal });
    document.addEventListener("paste", onPaste, { signal });
    document.addEventListener("pointermove", ({ clientX: x, clientY: y }) => useCanvas.getState().set({ pointer: { x, y } }), { signal });
    return () => ended.abort();
  }, []);
}
