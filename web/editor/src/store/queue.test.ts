import { expect, it } from "vitest";
import type { Job } from "../api/client";
import { moveTo, sorted } from "./queue";

const job = (id: string, state: Job["state"]) => ({ id, state }) as Job;

it.each([
  ["c", -1, { before: "b" }],
  ["c", -9, { before: "a" }],
  ["a", 1, { before: "c" }],
  ["a", 2, { to: "back" }],
  ["b", 9, { to: "back" }],
  ["a", -1, null],
  ["c", 1, null],
  ["gone", 1, null],
])("of a, b, c, moving %s by %i asks for %j", (id, by, asked) => {
  expect(moveTo(["a", "b", "c"], id, by)).toEqual(asked);
});

it("what waits stands in the order of the queue, what runs by age, the oldest first", () => {
  const newestFirst = [job("new", "queued"), job("late", "running"), job("old", "queued"), job("early", "cancelling")];

  const { running, waiting } = sorted(newestFirst, ["old", "new"], []);
  expect(running.map(({ id }) => id)).toEqual(["early", "late"]);
  expect(waiting.map(({ id }) => id)).toEqual(["old", "new"]);
});

it("shows a job once that ended between two answers", () => {
  const { running, waiting } = sorted([job("a", "running"), job("b", "queued")], ["b"], [job("a", "failed")]);

  expect([running, waiting.map(({ id }) => id)]).toEqual([[], ["b"]]);
});
