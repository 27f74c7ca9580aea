import { expect, it } from "vitest";
import { ask, sure, useQuestion } from "./question";

const NAME = { title: "Name?", field: { label: "Name", value: "" }, choices: [{ id: "save", label: "Save" }] };

it("an answer ends the question", async () => {
  const asked = ask(NAME);
  useQuestion.getState().answer({ choice: "save", text: "Stars" });

  expect(await asked).toEqual({ choice: "save", text: "Stars" });
  expect(useQuestion.getState().question).toBeNull();
});

it("the next question cancels the one before", async () => {
  const first = ask(NAME);
  const second = sure("Delete?", "For good.", "Delete");

  expect(await first).toBeNull();
  useQuestion.getState().answer({ choice: "yes", text: "" });
  expect(await second).toBe(true);
});
