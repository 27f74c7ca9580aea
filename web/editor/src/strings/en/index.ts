import { canvas } from "./canvas";
import { panels } from "./panels";
import { shell } from "./shell";
import { widgets } from "./widgets";

export const en = { shell, canvas, widgets, panels };

export type Strings = typeof en;
