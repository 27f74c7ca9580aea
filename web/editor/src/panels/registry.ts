import type { ComponentType } from "react";
import type { Side } from "../store/workspace";
import type { Strings } from "../strings";
import { ProblemsPanel } from "./ProblemsPanel";

/** A panel: a region beside the canvas, opened by its button in the rail of its side. */
export interface Panel {
  id: string;
  side: Side;
  title(words: Strings): string;
  /** Path data of a 20x20 outline icon. */
  icon: string;
  component: ComponentType;
  /** The key that opens it, as in canvas/shortcuts.ts; optional. */
  key?: string;
}

/** Every panel, in the order of the rails. */
export const PANELS: readonly Panel[] = [
  {
    id: "problems",
    side: "right",
    title: (words) => words.panels.problems,
    icon: "M10 3 18 17H2Z M10 8v4 M10 14.2v.3",
    component: ProblemsPanel,
  },
];
