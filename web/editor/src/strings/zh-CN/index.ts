import type { Strings } from "../en";
import { canvas } from "./canvas";
import * as nodes from "./nodes";
import { panels } from "./panels";
import { problems } from "./problems";
import { shell } from "./shell";
import { widgets } from "./widgets";

export const zhCN: Strings = { shell, canvas, nodes, problems, widgets, panels };
