// @vitest-environment node
/** Who imports whom. An import of types alone counts too: what it names has to be understood first all the same. */

import ts from "typescript";
import { expect, it } from "vitest";

type Imports = Record<string, string[]>;

/** The modules that each module of src imports; style sheets and pictures are none. */
function imports(): Imports {
  const files = ts.sys.readDirectory("src", [".ts", ".tsx"]);
  return Object.fromEntries(files.map((file) => [file.slice("src/".length), importedBy(file)]));
}

function importedBy(file: string): string[] {
  const options = { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler };
  const { importedFiles } = ts.preProcessFile(ts.sys.readFile(file) as string);
  const own = importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith("."));
  const found = own.map((name) => ts.resolveModuleName(name, file, options, ts.sys).resolvedModule?.resolvedFileName);
  return found.flatMap((path) => (path?.startsWith("src/") ? path.slice("src/".length) : []));
}

/** A circle for each import that closes one, as a walk that ends where it began. */
function circles(graph: Imports): string[][] {
  const found: string[][] = [];
  const seen = new Set<string>();
  const visit = (module: string, trail: string[]) => {
    if (trail.includes(module)) return void found.push([...trail.slice(trail.indexOf(module)), module]);
    if (seen.has(module)) return;
    seen.add(module);
    for (const next of graph[module] ?? []) visit(next, [...trail, module]);
  };
  for (const module of Object.keys(graph)) visit(module, []);
  return found;
}

/** The folders from the ground up, as CONTRIBUTING.md has them; a module in none stands above all. */
function floors(): (module: string) => number {
  const table = ts.sys.readFile("../../CONTRIBUTING.md")?.split("| Folder in `web/editor/src` |")[1]?.split("\n\n")[0] ?? "";
  const folders = [...table.matchAll(/^\| `(\w+)\/` \|/gm)].map(([, folder]) => folder as string);
  return (module) => (module.includes("/") ? folders.indexOf(module.split("/")[0] as string) : folders.length);
}

it("a circle is found, and modules that meet again are none", () => {
  expect(circles({ a: ["b", "c"], b: ["d"], c: ["d"], d: ["e"], e: ["b"] })).toEqual([["b", "d", "e", "b"]]);
});

it("no module needs itself, directly or through others", () => {
  expect(circles(imports())).toEqual([]);
});

it("a folder imports from those above it in CONTRIBUTING's table", () => {
  const floorOf = floors();
  const graph = imports();
  const arrows = Object.entries(graph).flatMap(([module, used]) => used.map((other) => [module, other] as const));
  expect(Object.keys(graph).filter((module) => floorOf(module) < 0)).toEqual([]);
  expect(arrows.filter(([module, other]) => floorOf(other) > floorOf(module))).toEqual([]);
});
