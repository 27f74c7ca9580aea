import { expect, it } from "vitest";
import { arranged, frame, inside } from "./arrange";
import { layered } from "./layered";
import { sample } from "./samples";

const boxes = new Map([
  ["a", { x: 10, y: 100, width: 50, height: 20 }],
  ["b", { x: 40, y: 0, width: 50, height: 60 }],
]);

it("aligns to the outermost edge", () => {
  expect(arranged(boxes, "alignLeft").get("b")).toEqual({ x: 10, y: 0 });
  expect(arranged(boxes, "alignTop").get("a")).toEqual({ x: 10, y: 0 });
});

it("spreads in order, with one gap", () => {
  expect(arranged(boxes, "spreadDown").get("a")).toEqual({ x: 10, y: 84 });
  expect(arranged(boxes, "spreadRight").get("b")).toEqual({ x: 84, y: 0 });
});

it("frames boxes, and finds those inside by their middle", () => {
  const around = frame(boxes);

  expect(inside(around, boxes)).toEqual(["a", "b"]);
  expect(inside({ x: 0, y: 90, width: 100, height: 100 }, boxes)).toEqual(["a"]);
});

it("lays a workflow out from left to right, without overlaps, where it was", () => {
  const all = new Map(Object.keys(sample().nodes).map((id) => [id, { x: 50, y: 70, width: 200, height: 100 }]));

  const places = layered(sample(), all);

  const x = (id: string) => places.get(id)!.x;
  expect(Math.min(...[...places.values()].map((place) => place.x))).toBe(50);
  expect(x("load") + 200).toBeLessThan(x("invert"));
  expect(x("invert") + 200).toBeLessThan(x("save"));
  const [save, grid] = [places.get("save")!, places.get("grid")!];
  expect(save.x !== grid.x || Math.abs(save.y - grid.y) >= 100).toBe(true);
});
