import { expect, it } from "vitest";
import { storageOf } from "./storage";

const full = { length: 0, getItem: () => "{", setItem: () => { throw new DOMException("full", "QuotaExceededError"); } };

it("a storage that is full, forbidden or full of rubbish breaks nothing", () => {
  const forbidden = storageOf(() => {
    throw new DOMException("no", "SecurityError");
  });
  for (const storage of [forbidden, storageOf(() => full as unknown as Storage)]) {
    expect(storage.write("a", { b: 1 })).toBe(false);
    expect(storage.read("a")).toBeNull();
    expect(storage.keys()).toEqual([]);
    storage.remove("a");
  }
});

it("gives back what was written", () => {
  const storage = storageOf(() => localStorage);
  expect(storage.write("a", { b: ["潜"] })).toBe(true);
  expect([storage.read("a"), storage.read("none"), storage.keys()]).toEqual([{ b: ["潜"] }, null, ["a"]]);
  storage.remove("a");
  expect(storage.read("a")).toBeNull();
});
