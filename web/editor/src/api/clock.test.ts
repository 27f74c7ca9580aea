import { expect, it } from "vitest";
import { ServerClock } from "./clock";

const at = (seconds: number) => new Date(Date.now() + 1000 * seconds).toUTCString();

it("a clock that is an hour away counts, one that is a second away does not", () => {
  const clock = new ServerClock();
  const ahead = () => Math.round(clock.now() - Date.now() / 1000);
  const seen = [at(3600), null, "rubbish", at(-7200), at(1)].map((date) => (clock.hear(date), ahead()));

  expect(seen.map((seconds) => Math.round(seconds / 60))).toEqual([60, 60, 60, -120, 0]);
});
