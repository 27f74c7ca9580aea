/** Keys as the actions spell them, and as people read them. */

import type { KeyboardEvent as ViewEvent } from "react";

const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

/** A key event as ACTIONS spells it. */
export function chordOf(event: KeyboardEvent): string {
  const key = letterOf(event);
  const letter = /^[A-Z]$/.test(key) || event.key.length > 1;
  return [(MAC ? event.metaKey : event.ctrlKey) && "Mod", event.altKey && "Alt", event.shiftKey && letter && "Shift", key]
    .filter(Boolean)
    .join("+");
}

/** With Alt, and with another modifier where the keyboard writes no Latin letters, the place of the key counts. */
function letterOf({ key, code, altKey, ctrlKey, metaKey }: KeyboardEvent): string {
  const foreign = (ctrlKey || metaKey) && key.length === 1 && key > "\x7f";
  if ((altKey || foreign) && /^Key[A-Z]$/.test(code)) return code.slice(3);
  return key.length === 1 ? key.toUpperCase() : key;
}

/** Whether a key belongs to an input method, which has not finished a word yet; Safari says so by 229 alone. */
export function composes(event: KeyboardEvent | ViewEvent): boolean {
  const { isComposing, keyCode } = "nativeEvent" in event ? event.nativeEvent : event;
  return isComposing || keyCode === 229;
}

/** A chord as people read it. */
export function shownKeys(keys: string): string {
  return keys.replace("Mod", MAC ? "⌘" : "Ctrl").replace("ArrowLeft", "←").replace("ArrowUp", "↑").replace("ArrowDown", "↓").replace("ArrowRight", "→");
}

/** Modifiers in the order in which `chordOf` names them. */
export function inOrder(chord: string): string {
  const parts = chord.split("+");
  const key = parts.pop() as string;
  return [...["Mod", "Alt", "Shift"].filter((name) => parts.includes(name)), key].join("+");
}

