import { canvas } from "./canvas";
import { nodes } from "./nodes";
import { panels } from "./panels";
import { shell } from "./shell";
import { widgets } from "./widgets";

export const en = { shell, canvas, nodes, widgets, panels };

export type Strings = typeof en;
