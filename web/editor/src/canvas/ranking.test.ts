import { expect, it } from "vitest";
import { spec } from "../document/samples";
import { ranked } from "./ranking";

const types = ["KSampler", "KSamplerAdvanced", "SampleCustom", "VAEDecode", "LoadImage", "plugin/Glow"].map((type) => spec(type, [], []));
const first = (text: string) => ranked(types, text)[0]?.type;

it.each([
  ["ksampler", "KSampler"],
  ["ks", "KSampler"],
  ["vd", "VAEDecode"],
  ["sample", "SampleCustom"],
  ["image load", "LoadImage"],
  ["glow", "plugin/Glow"],
  ["smplr", "KSampler"],
])("%s finds %s", (text, type) => {
  expect(first(text)).toBe(type);
});

it("an empty text keeps all, an unknown word none", () => {
  expect(ranked(types, " ")).toHaveLength(6);
  expect(ranked(types, "ksampler nothing")).toEqual([]);
});
