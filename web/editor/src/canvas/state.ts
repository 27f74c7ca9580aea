import type { ReactFlowInstance } from "@xyflow/react";
import { create } from "zustand";
import type { Inlet } from "../document/edit";
import type { Box, Edge, Point } from "../document/types";
import type { FlowEdge, FlowNode } from "./flow";
import { partsOf } from "./flow";

/** What a new node is to be wired to. */
export type Loose = { from: Edge } | { to: Inlet };

export interface PaletteRequest {
  /** Where the new node goes, on the canvas. */
  at: Point;
  loose?: Loose;
  /** A node to be replaced instead. */
  replace?: string;
}

interface CanvasState {
  flow: ReactFlowInstance<FlowNode, FlowEdge> | null;
  palette: PaletteRequest | null;
  /** Where the menu of the selection is, in the window. */
  menu: Point | null;
  /** The node, or the group as `group:ID`, whose title is being changed. */
  renaming: string | null;
  /** The repeated node whose form is open. */
  repeating: string | null;
  /** Where the pointer was last, in the window. */
  pointer: Point | null;
  set(change: Partial<Omit<CanvasState, "set">>): void;
}

export const useCanvas = create<CanvasState>()((set) => ({
  flow: null,
  palette: null,
  menu: null,
  renaming: null,
  repeating: null,
  pointer: null,
  set,
}));

/** How long the view takes to move, in ms; none for people who want no motion. */
export const glide = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 250);

/** Put the keyboard's focus on the canvas, where nothing else has claimed it. */
export function focusCanvas() {
  document.querySelector<HTMLElement>("main.canvas")?.focus({ preventScroll: true });
}

/** The point of the canvas under the pointer, or in the middle of what is seen. */
export function pointOnCanvas(): Point {
  const { flow, pointer } = useCanvas.getState();
  const area = document.querySelector(".react-flow")?.getBoundingClientRect();
  if (!flow || !area) return { x: 0, y: 0 };
  const inside = pointer && pointer.x > area.left && pointer.x < area.right && pointer.y > area.top && pointer.y < area.bottom;
  return flow.screenToFlowPosition(inside ? pointer : { x: area.left + area.width / 2, y: area.top + area.height / 2 });
}

/** The boxes of nodes on the canvas, by flow id. */
export function boxesOf(ids: Iterable<string>): Map<string, Box> {
  const { flow } = useCanvas.getState();
  const found = new Map<string, Box>();
  for (const id of ids) {
    const node = flow?.getNode(id);
    if (!node) continue;
    const { width = 260, height = 120 } = node.measured ?? node;
    found.set(id, { ...node.position, width: width ?? 260, height: height ?? 120 });
  }
  return found;
}

/** The selection by what it holds, in the document's ids. */
export function selected(selection: ReadonlySet<string>) {
  const found = { nodes: new Set<string>(), groups: new Set<string>(), notes: new Set<string>(), edges: new Set<string>() };
  for (const flowId of selection) {
    const { kind, id } = partsOf(flowId);
    if (kind === "edge") found.edges.add(flowId);
    else found[`${kind}s`].add(id);
  }
  return found;
}
