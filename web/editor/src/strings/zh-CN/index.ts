import type { Strings } from "../en";
import { canvas } from "./canvas";
import * as nodes from "./nodes";
import { panels } from "./panels";
import { shell } from "./shell";
import { widgets } from "./widgets";

export const zhCN: Strings = { shell, canvas, nodes, widgets, panels };
