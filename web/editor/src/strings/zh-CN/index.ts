import type { Strings } from "../en";
import { canvas } from "./canvas";
import { panels } from "./panels";
import { shell } from "./shell";
import { widgets } from "./widgets";

export const zhCN: Strings = { shell, canvas, widgets, panels };
