import { expect, it } from "vitest";
import { newest } from "./newest";

it("an answer that comes after the one to a later question counts no more", async () => {
  const taken: string[] = [];
  const take = (answer: string) => void taken.push(answer);
  const ask = newest();
  let late = (_: string) => {};
  const first = ask(new Promise<string>((resolve) => (late = resolve)), take);

  await ask(Promise.resolve("new"), take);
  late("old");
  await first;

  expect(taken).toEqual(["new"]);
});

it("answers that come in order are all taken, and a question that fails says so and stops none", async () => {
  const taken: number[] = [];
  const take = (answer: number) => void taken.push(answer);
  const ask = newest();

  await ask(Promise.resolve(1), take);
  await expect(ask(Promise.reject(new Error("away")), take)).rejects.toThrow("away");
  await ask(Promise.resolve(2), take);

  expect(taken).toEqual([1, 2]);
});
