import { expect, it } from "vitest";
import { ACTIONS } from "./actions";
import { chordOf } from "../widgets/keys";

const press = (key: string, init: KeyboardEventInit = {}) => chordOf(new KeyboardEvent("keydown", { key, ...init }));

it("spells keys as the actions do", () => {
  expect(press("z", { ctrlKey: true })).toBe("Mod+Z");
  expect(press("Z", { ctrlKey: true, shiftKey: true })).toBe("Mod+Shift+Z");
  expect(press("?", { shiftKey: true })).toBe("?");
  expect(press("Enter", { ctrlKey: true, shiftKey: true })).toBe("Mod+Shift+Enter");
  expect(press("ç", { altKey: true, code: "KeyC" })).toBe("Alt+C");
});

it.each(["я", "ζ", "ז"])("Ctrl with %s on the Z key is Ctrl+Z; a Latin letter is what it says, wherever it is", (key) => {
  expect(press(key, { ctrlKey: true, code: "KeyZ" })).toBe("Mod+Z");
  expect(press("z", { ctrlKey: true, code: "KeyY" })).toBe("Mod+Z");
  expect(press(key, { code: "KeyZ" })).toBe(key.toUpperCase());
});

it("no key means two things", () => {
  const keys = ACTIONS.flatMap((action) => action.keys);

  expect(new Set(keys).size).toBe(keys.length);
});

it("a single key without a modifier destroys nothing but the selection, which undo brings back", () => {
  const bare = ACTIONS.filter(({ keys }) => keys.some((key) => !key.includes("+"))).map(({ id }) => id);

  expect(bare).toEqual(["palette", "delete", "rename", "open", "leave", "fit", "fitSelection", "help"]);
  expect(ACTIONS.find(({ id }) => id === "delete")?.needs).toBe("any");
});
