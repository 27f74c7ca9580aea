/** The node types that the nodes of a document can have: the installed ones and its sub-workflows. */

import type { NodeSpec } from "../api/client";
import type { Specs } from "../document/graphs";
import { specOf, withGraphs } from "../document/graphs";
import type { Workflow, WorkflowNode } from "../document/types";
import { useCatalog } from "./catalog";
import { useDocument } from "./document";
import { activeTab } from "./workspace";

const known = new WeakMap<object, { specs: Specs; all: Specs }>();

/** Computed once for each state of the sub-workflows. */
function allOf(specs: Specs, graphs: Workflow["graphs"]): Specs {
  if (!graphs) return specs;
  const found = known.get(graphs);
  if (found?.specs === specs) return found.all;
  const all = withGraphs(specs, graphs);
  known.set(graphs, { specs, all });
  return all;
}

/** The node types of the active document. */
export function useSpecs(): Specs {
  const graphs = useDocument((state) => state.workflow.graphs);
  return allOf(
    useCatalog((state) => state.specs),
    graphs,
  );
}

export const useSpec = (node?: WorkflowNode): NodeSpec | undefined => specOf(useSpecs(), node);

/** The node types of the active document, outside of components. */
export const specsNow = (): Specs => allOf(useCatalog.getState().specs, activeTab().document.getState().workflow.graphs);
