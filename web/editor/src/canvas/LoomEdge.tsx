import { BaseEdge, getBezierPath } from "@xyflow/react";
import type { EdgeProps } from "@xyflow/react";
import { memo } from "react";
import { colourOf, useCatalog } from "../store/catalog";
import type { FlowEdge } from "./flow";

export const LoomEdge = memo(function LoomEdge({ id, data, selected, ...ends }: EdgeProps<FlowEdge>) {
  const [path] = getBezierPath(ends);
  const colour = useCatalog((state) => colourOf(state.types, data?.kind ?? ""));
  return <BaseEdge id={id} path={path} className="edge" style={{ stroke: colour, strokeWidth: selected ? 3.5 : 2 }} />;
});
