import { expect, it } from "vitest";
import { chain, moveNodes, setInput } from "../document/edit";
import { sample } from "../document/samples";
import { deriveEdges, deriveNodes, edgeId, inletOfEdge, partsOf } from "./flow";

const NONE = new Set<string>();
const kindOf = () => "IMAGE";

it("what did not change keeps its identity", () => {
  const nodes = deriveNodes(sample(), NONE, []);
  const edges = deriveEdges(sample(), NONE, [], kindOf);
  const moved = chain(moveNodes(new Map([["save", { x: 1, y: 2 }]])), setInput("invert", "amount", 1))(sample());

  const again = deriveNodes(moved, NONE, nodes);

  expect(again.map((node, n) => node === nodes[n])).toEqual([true, true, false, true]);
  expect(deriveEdges(moved, NONE, edges, kindOf).every((edge, n) => edge === edges[n])).toBe(true);
});

it("a selected node is another object, with its measure", () => {
  const nodes = deriveNodes(sample(), NONE, []).map((node) => ({ ...node, measured: { width: 9, height: 9 } }));

  const [load] = deriveNodes(sample(), new Set(["load"]), nodes);

  expect(load).toMatchObject({ selected: true, measured: { width: 9, height: 9 } });
});

it("edges are named by where they lead", () => {
  const edges = deriveEdges(sample(), NONE, [], kindOf);

  expect(edges.map(({ id }) => id)).toEqual(["edge:invert/image", "edge:save/images", "edge:grid/images[0]", "edge:grid/images[1]"]);
  for (const { id } of edges) expect(edgeId(inletOfEdge(id))).toBe(id);
  expect(partsOf("edge:grid/images[0]")).toEqual({ kind: "edge", id: "grid/images[0]" });
  expect(partsOf("group:3")).toEqual({ kind: "group", id: "3" });
});
