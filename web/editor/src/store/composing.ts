/** Whether an input method composes a text: what is typed meanwhile is no text yet. */
export function watchComposition(target: EventTarget): { readonly active: boolean } {
  const state = { active: false };
  target.addEventListener("compositionstart", () => (state.active = true), { capture: true });
  // Some browsers report the text that was chosen only after the end
  target.addEventListener("compositionend", () => setTimeout(() => (state.active = false)), { capture: true });
  return state;
}

export const composing = watchComposition(document);
