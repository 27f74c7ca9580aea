import type { ComponentType } from "react";
import type { Side } from "../store/workspace";
import type { Strings } from "../strings";
import { FormPanel } from "./FormPanel";
import { LibraryPanel } from "./LibraryPanel";
import { ProblemsPanel } from "./ProblemsPanel";
import { QueuePanel } from "./QueuePanel";
import { ResultsPanel } from "./ResultsPanel";
import { SweepPanel } from "./SweepPanel";
import { ICONS } from "./icons";

/** A panel: a region beside the canvas, opened by its button in the rail of its side. */
export interface Panel {
  id: keyof Strings["panels"]["titles"];
  side: Side;
  /** Path data of a 20x20 outline icon. */
  icon: string;
  component: ComponentType;
}

/** Every panel, in the order of the rails. */
export const PANELS: readonly Panel[] = [
  { id: "library", side: "left", icon: ICONS.library, component: LibraryPanel },
  { id: "form", side: "left", icon: ICONS.form, component: FormPanel },
  { id: "results", side: "right", icon: ICONS.results, component: ResultsPanel },
  { id: "sweep", side: "right", icon: ICONS.sweep, component: SweepPanel },
  { id: "queue", side: "right", icon: ICONS.queue, component: QueuePanel },
  { id: "problems", side: "right", icon: ICONS.problems, component: ProblemsPanel },
];
