import { expect, it } from "vitest";
import type { NodeSpec } from "../api/client";
import { typeName } from "../document/names";
import { input, spec } from "../document/samples";
import type { Strings } from "../strings";
import { LANGUAGES } from "../strings";
import { searchOf } from "./ranking";

const made = (type: string, display_name: string, aliases: string[], ports: string[] = []): NodeSpec => ({
  ...spec(type, ports.map((name) => input(name, "INT")), []),
  display_name,
  aliases,
});
const types = [
  made("KSampler", "Sampler", ["denoise"], ["seed", "cfg"]),
  made("KSamplerAdvanced", "Sampler (advanced)", []),
  made("SampleCustom", "Sampler (own sigmas)", []),
  made("VAEDecode", "VAE decode", []),
  made("LoadImage", "Load image", ["open"]),
  made("LoadCheckpoint", "Load checkpoint", ["CheckpointLoaderSimple", "model"]),
  made("CLIPEncode", "Prompt", ["CLIPTextEncode", "text encode"], ["clip_skip"]),
  made("PromptToPrompt", "Prompt-to-prompt editing", []),
  made("ImageScale", "Resize image", ["scale", "upscale"]),
  made("LatentUpscale", "Resize latent", ["upscale"]),
  made("Integer", "Integer", ["int"]),
  made("GuidanceInterval", "Guidance interval", []),
  made("plugin/Glow", "", []),
];
const named = (strings: Strings) => (one: NodeSpec) => ({ name: typeName(strings, one.type, one), words: strings.nodes.words[one.type] ?? "" });
const found = (text: string, strings = LANGUAGES.en.strings, uses = {}) => searchOf(types, named(strings), uses)(text).map(({ type }) => type);

it.each([
  ["ksampler", "KSampler"],
  ["ks", "KSampler"],
  ["vd", "VAEDecode"],
  ["sample", "SampleCustom"],
  ["image load", "LoadImage"],
  ["glow", "plugin/Glow"],
  ["smplr", "KSampler"],
  ["ksmapler", "KSampler"],
  ["checkpiont", "LoadCheckpoint"],
  ["resiez", "ImageScale"],
  ["CheckpointLoaderSimple", "LoadCheckpoint"],
  ["CLIP Text Encode (Prompt)", "CLIPEncode"],
  ["clip skip", "CLIPEncode"],
  ["prompt", "CLIPEncode"],
  ["int", "Integer"],
  ["Sampler (own sigmas)", "SampleCustom"],
])("%s finds %s first", (text, type) => {
  expect(found(text)[0]).toBe(type);
});

it.each([
  ["采样", "KSampler"],
  ["提示词", "CLIPEncode"],
  ["底模", "LoadCheckpoint"],
  ["图像", "LoadImage"],
  ["文本编码", "CLIPEncode"],
])("%s finds %s first in Chinese", (text, type) => {
  expect(found(text, LANGUAGES["zh-CN"].strings)[0]).toBe(type);
});

it("English names are found in Chinese too", () => {
  expect(found("load checkpoint", LANGUAGES["zh-CN"].strings)[0]).toBe("LoadCheckpoint");
});

it("an empty text keeps all with the common ones first, an unknown word none", () => {
  expect(found(" ")).toHaveLength(types.length);
  expect(found("").slice(0, 3)).toEqual(["LoadCheckpoint", "CLIPEncode", "KSampler"]);
  expect(found("ksampler nothing")).toEqual([]);
});

it("what was added often comes first", () => {
  expect(found("", LANGUAGES.en.strings, { Integer: 1, VAEDecode: 2 }).slice(0, 2)).toEqual(["VAEDecode", "Integer"]);
});
