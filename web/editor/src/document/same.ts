import type { Workflow } from "./types";
import { write } from "./write";

/** Whether two documents say the same, wherever they come from. */
export const same = (a: Workflow, b: Workflow) => a === b || write(a) === write(b);
