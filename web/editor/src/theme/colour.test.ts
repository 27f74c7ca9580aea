// @vitest-environment node
import ts from "typescript";
import { expect, it } from "vitest";
import { contrast, inBothThemes, LIGHT } from "./colour";

const colours = [...(ts.sys.readFile("../../nodes/__init__.py") as string).matchAll(/"(#[0-9a-f]{6})"/g)].map(([, colour]) => colour as string);

it("the canvas is as light as it is taken to be", () => {
  expect(ts.sys.readFile("src/theme/theme.css")).toContain(`--surface-0: light-dark(${LIGHT},`);
  expect(contrast("#ffffff", "#000000")).toBeCloseTo(21);
});

it("every kind of value has a contrast of 3 at least in the light theme, and its own colour in the dark one", () => {
  expect(colours.length).toBeGreaterThan(8);
  for (const colour of [...colours, "#ffffff", "#000000"]) {
    const [, light = "", dark] = /^light-dark\((.+), (.+)\)$/.exec(inBothThemes(colour)) ?? [];
    expect([colour, contrast(light, LIGHT) >= 3, dark]).toEqual([colour, true, colour]);
  }
});

it("what is no #rrggbb stays", () => {
  expect(["red", "#abc", "url(x)"].map(inBothThemes)).toEqual(["red", "#abc", "url(x)"]);
});
