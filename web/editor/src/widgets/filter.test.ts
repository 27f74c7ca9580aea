import { expect, test } from "vitest";
import { byFolder, matching, shortOf } from "./filter";

const NAMES = ["xl/base.safetensors", "anime.safetensors", "xl/turbo/fast.safetensors", "base-1.5.safetensors"];

test("every word must be in a name, in any order and case; names that begin with the first come first", () => {
  expect(matching(NAMES, "")).toEqual(NAMES);
  expect(matching(NAMES, "XL ba")).toEqual(["xl/base.safetensors"]);
  expect(matching(NAMES, "fast xl")).toEqual(["xl/turbo/fast.safetensors"]);
  expect(matching(["not-base", "base"], "base")).toEqual(["base", "not-base"]);
  expect(matching(NAMES, "none such")).toEqual([]);
});

test("a misspelt name is found where nothing holds what was typed", () => {
  expect(matching(["dpmpp_2m", "euler", "euler_ancestral"], "eular")).toEqual(["euler", "euler_ancestral"]);
  expect(matching(NAMES, "aniem")).toEqual(["anime.safetensors"]);
  expect(matching(NAMES, "qq")).toEqual([]);
});

test("folders are told apart, the top comes first", () => {
  expect(byFolder(NAMES)).toEqual([
    { folder: "", names: ["anime.safetensors", "base-1.5.safetensors"] },
    { folder: "xl", names: ["xl/base.safetensors"] },
    { folder: "xl/turbo", names: ["xl/turbo/fast.safetensors"] },
  ]);
});

test("a hash is shown by its beginning", () => {
  expect(shortOf(`by-hash/ab/${"ab12cd34".repeat(8)}.png`)).toBe("ab12cd34….png");
  expect(shortOf("cats/one.png")).toBe("one.png");
});
