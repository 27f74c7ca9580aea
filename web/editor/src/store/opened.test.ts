import { expect, it } from "vitest";
import { setInput } from "../document/edit";
import { sample } from "../document/samples";
import { createDocument } from "./opened";

function documentAt(clock: { now: number }) {
  const store = createDocument(sample(), () => clock.now);
  const history = () => store.temporal.getState();
  return { store, history, amount: () => store.getState().workflow.nodes.invert?.inputs.amount };
}

it("ten edits are undone and done again", () => {
  const { store, history, amount } = documentAt({ now: 0 });
  for (let n = 1; n <= 10; n++) store.getState().edit(setInput("invert", "amount", n));

  history().undo(10);
  expect(amount()).toBe(0.5);
  history().redo(10);
  expect(amount()).toBe(10);
});

it("typing is one step, until a pause or another field", () => {
  const clock = { now: 0 };
  const { store, history, amount } = documentAt(clock);
  for (const text of ["1", "12", "123"]) store.getState().edit(setInput("invert", "amount", text), "amount");
  clock.now = 5000;
  store.getState().edit(setInput("invert", "amount", "1234"), "amount");
  store.getState().edit(setInput("load", "file", "x"), "file");

  history().undo();
  expect(amount()).toBe("1234");
  history().undo();
  expect(amount()).toBe("123");
  history().undo();
  expect(amount()).toBe(0.5);
  expect(history().pastStates).toHaveLength(0);
});

it("selection and viewport are no steps", () => {
  const { store, history } = documentAt({ now: 0 });
  store.getState().select(["load"]);
  store.getState().set({ viewport: { x: 1, y: 2, zoom: 1 } });

  expect(history().pastStates).toHaveLength(0);
});

it("an edit that changes nothing is no step", () => {
  const { store, history } = documentAt({ now: 0 });
  store.getState().edit(setInput("invert", "amount", 0.5));

  expect(history().pastStates).toHaveLength(0);
});

it("an edit after an undo ends what could be done again", () => {
  const { store, history } = documentAt({ now: 0 });
  store.getState().edit(setInput("invert", "amount", 1));
  history().undo();
  store.getState().edit(setInput("invert", "amount", 2));

  expect(history().futureStates).toHaveLength(0);
});
