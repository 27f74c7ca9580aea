import type { Problem } from "../api/client";
import type { Edit } from "./edit";
import { setInput } from "./edit";
import type { Specs } from "./graphs";
import type { Workflow } from "./types";
import type { Choices } from "./wiring";
import { replaceType } from "./wiring";

/** What is wrong with a value that another one can take the place of. */
const VALUES = new Set(["unknown_choice", "missing_file"]);

/** The edit that puts the nearest name in the place of an unknown one, or null where there is none. */
export function fixOf(workflow: Workflow, specs: Specs, choices: Choices, problem: Partial<Problem>): Edit | null {
  const { code, node, input, nearest } = problem;
  if (!code || !node || !nearest || !(node in workflow.nodes)) return null;
  if (VALUES.has(code)) return input ? setInput(node, input, nearest) : null;
  const spec = specs.get(nearest);
  return code === "unknown_node_type" && spec ? replaceType(workflow, specs, choices, node, spec) : null;
}
