import { canvas } from "./canvas";
import { nodes } from "./nodes";
import { panels } from "./panels";
import { problems } from "./problems";
import { shell } from "./shell";
import { widgets } from "./widgets";

export const en = { shell, canvas, nodes, problems, widgets, panels };

export type Strings = typeof en;
