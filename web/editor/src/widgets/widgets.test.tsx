import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { afterEach, expect, test } from "vitest";
import type { InputPort } from "../api/client";
import { input } from "../document/samples";
import { useCatalog } from "../store/catalog";
import { activeTab } from "../store/workspace";
import { isWide, widgetOf } from "./registry";

const PORT: InputPort = input("value", "INT");

afterEach(cleanup);

/** Show a port's widget with its label; the answer are all values that it gave, the newest last. */
function show(port: Partial<InputPort>, first?: unknown, node?: string): unknown[] {
  const whole = { ...PORT, ...port };
  const Widget = widgetOf(whole);
  const given: unknown[] = [];
  function Held() {
    const [value, setValue] = useState(first);
    const change = (next: unknown) => (given.push(next), setValue(next));
    return (
      <>
        <label htmlFor="it">{whole.name}</label>
        <Widget id="it" port={whole} value={value} node={node} onChange={change} />
      </>
    );
  }
  render(<Held />);
  return given;
}

const field = () => screen.getByLabelText<HTMLInputElement>("value", { selector: "#it" });

test("a number out of range is refused with the reason; the text stays, and so does the document", async () => {
  const given = show({ minimum: 1, maximum: 100 }, 20);
  await userEvent.clear(field());
  await userEvent.type(field(), "500");
  await userEvent.tab();
  expect(given.at(-1)).toBe(50); // what was typed on the way was allowed
  expect(field().value).toBe("500");
  expect(field().getAttribute("aria-invalid")).toBe("true");
  expect(screen.getByRole("alert").textContent).toBe("Must be at most 100 · still 50Use 100");
  await userEvent.click(screen.getByRole("button", { name: "Use 100" }));
  expect([given.at(-1), field().value, screen.queryByRole("alert")]).toEqual([100, "100", null]);
});

test("Escape gives the number of the document back", async () => {
  const given = show({ minimum: 1, maximum: 100 }, 20);
  await userEvent.clear(field());
  await userEvent.type(field(), "0{Enter}");
  expect(screen.getByRole("alert").textContent).toContain("Must be at least 1");
  await userEvent.keyboard("{Escape}");
  expect([field().value, given, screen.queryByRole("alert")]).toEqual(["20", [], null]);
});

test("arrow keys go in steps, an empty field means the default", async () => {
  const given = show({ minimum: 16, multiple_of: 8, default: 512, required: false });
  await userEvent.type(field(), "{ArrowUp}{Shift>}{ArrowDown}{/Shift}");
  expect(given).toEqual([520, 440]);
  await userEvent.clear(field());
  await userEvent.tab();
  expect([given.at(-1), field().value]).toEqual([undefined, "512"]);
});

test("dragging the label changes the number", () => {
  const given = show({ minimum: 0, maximum: 30 }, 20);
  const label = screen.getByText("value");
  label.setPointerCapture = () => undefined;
  fireEvent.pointerDown(label, { button: 0, clientX: 100, pointerId: 1 });
  fireEvent.pointerMove(label, { clientX: 112, pointerId: 1 });
  fireEvent.pointerMove(label, { clientX: 300, pointerId: 1 });
  fireEvent.pointerUp(label, { pointerId: 1 });
  fireEvent.pointerMove(label, { clientX: 0, pointerId: 1 });
  expect(given).toEqual([23, 30]);
});

test("a slider gives numbers beside the field", () => {
  const given = show({ kind: "FLOAT", minimum: 0, maximum: 1 }, 0.5);
  fireEvent.change(screen.getByRole("slider", { name: "value, slider" }), { target: { value: "0.25" } });
  expect([given, field().value]).toEqual([[0.25], "0.25"]);
});

test("a seed of 2^64-1 stays as it is written; the dice draws, the last seed comes back by one click", async () => {
  const seed = { widget: "seed", minimum: 0, maximum: 2 ** 64 - 1 };
  const given = show(seed, "18446744073709551615");
  expect(field().value).toBe("18446744073709551615");
  const dice = screen.getByRole("button", { name: /^Random/ });
  await userEvent.click(dice);
  expect([given.at(-1), dice.getAttribute("aria-pressed"), field().placeholder]).toEqual(["random", "true", "random"]);
  await userEvent.type(field(), "7");
  expect([given.at(-1), field().value]).toEqual([7, "7"]);
});

test("JSON that is none stays in the field, with the reason; the document keeps its value", async () => {
  const given = show({ kind: "STRANGE" }, { a: 1 });
  fireEvent.change(field(), { target: { value: '{"a": 2' } });
  expect(screen.getByRole("alert").textContent).toMatch(/^Invalid JSON: /);
  expect([given, field().value]).toEqual([[], '{"a": 2']);
  fireEvent.change(field(), { target: { value: '{"a": 2}' } });
  expect([given, screen.queryByRole("alert")]).toEqual([[{ a: 2 }], null]);
});

const LORAS = Array.from({ length: 450 }, (_, n) => `${n % 2 ? "style" : "people"}/lora-${n}.safetensors`);

test("a long list is searched and chosen by keys; it draws no more rows than are needed", async () => {
  useCatalog.setState({ choices: { "models/loras": LORAS } });
  const given = show({ kind: "MODEL_FILE", source: "models/loras" });
  await userEvent.click(field());
  expect(screen.getAllByRole("option").length).toBe(100);
  expect(screen.getByRole("status").textContent).toBe("450 entries");
  await userEvent.type(field(), "style 44");
  expect(screen.getAllByRole("option").map((row) => row.textContent)).toEqual([441, 443, 445, 447, 449].map((n) => `lora-${n}.safetensors`));
  await userEvent.keyboard("{ArrowDown}{ArrowDown}{ArrowUp}{Enter}");
  expect([given, screen.queryByRole("listbox")]).toEqual([["style/lora-443.safetensors"], null]);
});

test("a file that is missing is told and its name is kept; Escape leaves it alone", async () => {
  useCatalog.setState({ choices: { "models/loras": LORAS } });
  const given = show({ kind: "MODEL_FILE", source: "models/loras" }, "gone.safetensors");
  expect([field().value, field().getAttribute("aria-invalid")]).toEqual(["gone.safetensors", "true"]);
  expect(screen.getByText("“gone.safetensors” is not on the server")).toBeTruthy();
  await userEvent.type(field(), "people{Escape}");
  expect([given, field().value]).toEqual([[], "gone.safetensors"]);
});

test("None is a choice where it is a value", async () => {
  useCatalog.setState({ choices: { "models/clip": ["one"] } });
  const given = show({ kind: "MODEL_FILE", source: "models/clip", optional: true, required: false }, "one");
  await userEvent.click(field());
  await userEvent.keyboard("{ArrowUp}{Enter}");
  expect([given, field().value, field().placeholder]).toEqual([[null], "", "None"]);
});

test("a number that may be None is switched on and off", async () => {
  const given = show({ optional: true, required: false, minimum: 4 });
  await userEvent.click(screen.getByRole("checkbox", { name: "Set value" }));
  await userEvent.click(screen.getByRole("checkbox", { name: "Set value" }));
  expect(given).toEqual([4, undefined]);
});

test("lists have a widget for each value", async () => {
  const given = show({ kind: "STRING", is_list: true }, ["a"]);
  await userEvent.click(screen.getByRole("button", { name: "Add to value" }));
  await userEvent.type(screen.getByLabelText("value 2"), "b");
  expect(given.at(-1)).toEqual(["a", "b"]);
  await userEvent.click(screen.getByRole("button", { name: "Remove 1" }));
  expect(given.at(-1)).toEqual(["b"]);
});

test("a colour is taken when it is whole", async () => {
  const given = show({ kind: "STRING", widget: "colour", default: "#000000", required: false });
  await userEvent.clear(field());
  await userEvent.type(field(), "#12AB");
  expect([given, field().getAttribute("aria-invalid")]).toEqual([[], "true"]);
  await userEvent.type(field(), "cd");
  expect(given).toEqual(["#12abcd"]);
});

test("Ctrl and an arrow weigh the selected words, and keep them selected", async () => {
  const given = show({ kind: "STRING", widget: "multiline" }, "a red circle");
  field().focus();
  field().setSelectionRange(2, 5);
  await userEvent.keyboard("{Control>}{ArrowUp}{ArrowUp}{/Control}");
  expect(given.at(-1)).toBe("a (red:1.2) circle");
  expect(field().value.slice(field().selectionStart ?? 0, field().selectionEnd ?? 0)).toBe("red");
});

test("what the server says of an input is told at its field", () => {
  const problem = { node: "n", input: "value", code: "out_of_range", message: "out of range", expected: "1..9", got: "10" };
  const { checked, set } = activeTab().document.getState();
  set({ checked: { ...checked, problems: [problem as (typeof checked.problems)[number]] } });
  show({}, 10, "n");
  expect(field().getAttribute("aria-invalid")).toBe("true");
  expect(document.getElementById(field().getAttribute("aria-describedby") ?? "")?.textContent).toBe("out of range: 1..9");
});

test("what is high or broad stands below its label", () => {
  const wide = [{ widget: "multiline" }, { kind: "FILE" }, { kind: "JSON" }, { is_list: true }];
  const narrow = [{}, { widget: "seed" }, { kind: "MODEL_FILE" }, { kind: "BOOLEAN" }];
  expect(wide.map((port) => isWide({ ...PORT, ...port }))).toEqual([true, true, true, true]);
  expect(narrow.map((port) => isWide({ ...PORT, ...port }))).toEqual([false, false, false, false]);
});
