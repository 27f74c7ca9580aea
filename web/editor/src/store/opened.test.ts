import { expect, it } from "vitest";
import { setInput } from "../document/edit";
import { sample } from "../document/samples";
import { createDocument } from "./opened";

function documentAt(clock: { now: number }, composition = { active: false }) {
  const store = createDocument(sample(), () => clock.now, composition);
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

it("after an undo the next edit of the same kind is a step of its own", () => {
  const { store, history, amount } = documentAt({ now: 0 });
  const type = (text: string) => store.getState().edit(setInput("invert", "amount", text), "amount");
  type("1");
  history().undo();
  type("2");
  history().undo();

  expect(amount()).toBe(0.5);
  history().redo();
  expect(amount()).toBe("2");
});

it("what an input method writes until it ends is one step, however long it takes", () => {
  const [clock, composition] = [{ now: 0 }, { active: true }];
  const { store, history, amount } = documentAt(clock, composition);
  for (const text of ["n", "ni", "ni hao", "你好"]) {
    store.getState().edit(setInput("invert", "amount", text), "amount");
    clock.now += 5000;
  }
  composition.active = false;
  store.getState().edit(setInput("invert", "amount", "你好！"), "amount");

  history().undo();
  expect(amount()).toBe("你好");
  history().undo();
  expect(amount()).toBe(0.5);
});

it("a name is no step of undo, and stays", () => {
  const { store, history, amount } = documentAt({ now: 0 });
  for (const n of [1, 2]) store.getState().edit(setInput("invert", "amount", n));
  history().undo();
  store.getState().rename("Mine");

  history().undo();
  expect([amount(), store.getState().workflow.name]).toEqual([0.5, "Mine"]);
  history().redo(2);
  expect([amount(), store.getState().workflow.name]).toEqual([2, "Mine"]);
});
