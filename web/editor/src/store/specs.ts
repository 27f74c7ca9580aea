/** The node types that the nodes of a document can have: the installed ones and its sub-workflows. */

import type { InputPort, NodeSpec } from "../api/client";
import type { Specs } from "../document/graphs";
import { specOf, withGraphs } from "../document/graphs";
import type { NamedInput, Workflow, WorkflowNode } from "../document/types";
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

/** The port of a named input: as the server told it, else that of the first node that it goes to. */
export function usePorts(): (item: NamedInput) => InputPort | undefined {
  const told = useDocument((state) => state.checked.inputs);
  const nodes = useDocument((state) => state.workflow.nodes);
  const specs = useSpecs();
  const own = ([target]: NamedInput["to"]) =>
    specOf(specs, nodes[target?.node ?? ""])?.inputs.find(({ name }) => name === target?.input);
  return ({ name, to }) => told.find((item) => item.name === name)?.port ?? own(to);
}

/** The node types of the active document, outside of components. */
export const specsNow = (): Specs => allOf(useCatalog.getState().specs, activeTab().document.getState().workflow.graphs);
