import MiniSearch from "minisearch";
import type { NodeSpec } from "../api/client";

/** How a node type is called in the language of the reader, and what else it is called there. */
export type Named = (spec: NodeSpec) => { name: string; words: string };

/** Returns the node types that a text finds, the best first. An empty text finds all. */
export type NodeSearch = (text: string) => NodeSpec[];

const FIELDS = ["name", "type", "aliases", "ports", "category", "help"];
const BOOST = { name: 6, type: 6, aliases: 3, ports: 1.5, category: 1.5, help: 0.5 };
const CHINESE = /\p{Script=Han}+/gu;

/** The types that most workflows begin with; they come first where nothing else decides. */
const COMMON = [
  ...["LoadCheckpoint", "CLIPEncode", "KSampler", "VAEDecode", "SaveImage", "LoadLora", "EmptyLatent", "LoadImage", "VAEEncode"],
  ...["ImageScale", "PreviewImage", "UpscaleWithModel", "ApplyControlNet", "LoadControlNet", "LoadUNet", "LoadCLIP", "LoadVAE"],
];

/** Index node types by names, aliases, ports, category and help. `uses` says how often each type was added before. */
export function searchOf(specs: readonly NodeSpec[], named: Named, uses: Readonly<Record<string, number>> = {}): NodeSearch {
  const byType = new Map(specs.map((spec) => [spec.type, spec]));
  const index = new MiniSearch({
    fields: FIELDS,
    tokenize: termsOf,
    processTerm: (term) => term,
    searchOptions: {
      tokenize: wordsOf,
      combineWith: "AND",
      prefix: true,
      fuzzy: (term) => (term.length > 3 ? 0.34 : false), // one slip in four letters, two in six
      weights: { fuzzy: 0.2, prefix: 0.7 },
      boost: BOOST,
      boostDocument: (type) => likelihood(type as string, uses),
    },
  });
  index.addAll(specs.map((spec) => entryOf(spec, named)));
  const usual = [...specs].sort((a, b) => rank(a, uses) - rank(b, uses) || order(a, b));
  return (text) => {
    if (!wordsOf(text).length) return usual;
    const found = index.search(text).flatMap(({ id }) => byType.get(id as string) ?? []);
    const exact = (spec: NodeSpec) => [tail(spec.type), named(spec).name].some((name) => same(name, text));
    return [...found.filter(exact), ...found.filter((spec) => !exact(spec))];
  };
}

function entryOf(spec: NodeSpec, named: Named) {
  const { name, words } = named(spec);
  const { type, category, help, display_name, aliases } = spec;
  const ports = [...spec.inputs, ...spec.outputs].map((port) => port.name).join(" ");
  return { id: type, name: `${name} ${display_name}`, type, aliases: `${aliases.join(" ")} ${words}`, ports, category, help };
}

/** The terms of a text in the index: words, the parts and initials of names in camel case, every ending of a Chinese word. */
function termsOf(text: string): string[] {
  const names = text.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const parts = names.map((name) => name.match(/[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+/g) ?? []);
  const initials = parts.map((words) => words.map((word) => word.charAt(0)).join(""));
  const endings = [...text.matchAll(CHINESE)].flatMap(([run]) => [...run].map((_, at) => run.slice(at)));
  return [...new Set([...names, ...parts.flat(), ...initials, ...endings].map((term) => term.toLowerCase()))];
}

const wordsOf = (text: string) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);

const tail = (type: string) => type.split("/").pop() ?? type;
const same = (name: string, text: string) => name.toLowerCase() === text.trim().toLowerCase();

const likelihood = (type: string, uses: Readonly<Record<string, number>>) =>
  1 + 0.2 * Math.min(uses[type] ?? 0, 5) + (COMMON.includes(type) ? 0.5 : 0);

/** The lower, the earlier: used before, common, all others. */
function rank({ type }: NodeSpec, uses: Readonly<Record<string, number>>): number {
  const common = COMMON.indexOf(type);
  return -Math.min(uses[type] ?? 0, 1000) * 100 + (common < 0 ? COMMON.length : common);
}

function order(a: NodeSpec, b: NodeSpec): number {
  return a.category.localeCompare(b.category) || a.type.localeCompare(b.type);
}
