/** What nodes and node types are called: a node by its title, a type by its name in the reader's language. */

import type { NodeSpec } from "../api/client";
import type { Strings } from "../strings";
import type { WorkflowNode } from "./types";

export function typeName({ nodes }: Strings, type: string, spec?: NodeSpec): string {
  return nodes.names[type] ?? (spec?.display_name || type.split("/").pop() || type);
}

export const nodeName = (strings: Strings, { title, type }: WorkflowNode, spec?: NodeSpec): string =>
  title ?? typeName(strings, type, spec);
