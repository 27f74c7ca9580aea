import { Background, Controls, MiniMap, ReactFlow, applyNodeChanges } from "@xyflow/react";
import type { Connection, EdgeChange, NodeChange } from "@xyflow/react";
import { useCallback, useEffect, useState } from "react";
import { chain, changeThing, connect, disconnect, moveNodes, removeNodes, removeThings } from "../document/edit";
import { useCatalog } from "../store/catalog";
import { useDocument } from "../store/document";
import { useSettings } from "../store/settings";
import { useActive } from "../store/workspace";
import { useStrings } from "../strings";
import { LoomEdge } from "./LoomEdge";
import { WorkflowNode } from "./WorkflowNode";
import type { FlowEdge, FlowNode } from "./flow";
import { deriveEdges, deriveNodes, inletOf, inletOfEdge, partsOf } from "./flow";

const NODE_TYPES = { node: WorkflowNode };
const EDGE_TYPES = { loom: LoomEdge };

export function Canvas() {
  const { document } = useActive();
  const words = useStrings().canvas;
  const workflow = useDocument((state) => state.workflow);
  const selection = useDocument((state) => state.selection);
  const specs = useCatalog((state) => state.specs);
  const minimap = useSettings((state) => state.minimap);
  const [nodes, setNodes] = useState<FlowNode[]>(() => deriveNodes(workflow, selection, []));
  const [edges, setEdges] = useState<FlowEdge[]>([]);

  useEffect(() => {
    const kindOf = (node: string, output: string) =>
      specs.get(workflow.nodes[node]?.type ?? "")?.outputs.find((port) => port.name === output)?.kind ?? "ANY";
    setNodes((previous) => deriveNodes(workflow, selection, previous));
    setEdges((previous) => deriveEdges(workflow, selection, previous, kindOf));
  }, [workflow, selection, specs]);

  const { edit, select } = document.getState();

  const onNodesChange = useCallback(
    (changes: NodeChange<FlowNode>[]) => {
      selectBy(changes);
      setNodes((old) => applyNodeChanges(changes.filter(({ type }) => type !== "select" && type !== "remove"), old));
    },
    [document],
  );

  const onEdgesChange = useCallback((changes: EdgeChange<FlowEdge>[]) => selectBy(changes), [document]);

  function selectBy(changes: (NodeChange<FlowNode> | EdgeChange<FlowEdge>)[]) {
    const next = new Set(document.getState().selection);
    for (const change of changes)
      if (change.type === "select") change.selected ? next.add(change.id) : next.delete(change.id);
    select(next);
  }

  const onNodeDragStop = (_: unknown, __: unknown, moved: FlowNode[]) => edit(movedTo(moved));

  const onConnect = ({ source, sourceHandle, target, targetHandle }: Connection) => {
    if (!sourceHandle || !targetHandle) return;
    const { list, ...inlet } = inletOf(target, targetHandle);
    edit(connect({ node: source, output: sourceHandle }, inlet, list));
  };

  const onDelete = ({ nodes, edges }: { nodes: FlowNode[]; edges: FlowEdge[] }) => {
    const ids = (kind: string) => new Set(nodes.map(({ id }) => partsOf(id)).flatMap((p) => (p.kind === kind ? [p.id] : [])));
    const lost = edges.map(({ id }) => inletOfEdge(id)).sort((a, b) => (b.index ?? 0) - (a.index ?? 0));
    const cuts = lost.map((inlet) => disconnect(inlet));
    edit(chain(...cuts, removeNodes(ids("node")), removeThings("groups", ids("group")), removeThings("notes", ids("note"))));
  };

  return (
    <ReactFlow
      aria-label={words.label}
      nodes={nodes}
      edges={edges}
      nodeTypes={NODE_TYPES}
      edgeTypes={EDGE_TYPES}
      onNodesChange={onNodesChange}
      onEdgesChange={onEdgesChange}
      onNodeDragStop={onNodeDragStop}
      onConnect={onConnect}
      onDelete={onDelete}
      deleteKeyCode="Delete"
      onlyRenderVisibleElements
      minZoom={0.1}
      fitView
    >
      <Background gap={24} />
      {minimap && <MiniMap pannable zoomable />}
      <Controls showInteractive={false} />
    </ReactFlow>
  );
}

function movedTo(moved: FlowNode[]) {
  const places = new Map(moved.filter(({ type }) => type === "node").map(({ id, position }) => [id, position]));
  const things = moved.flatMap(({ id, type, position }) => {
    if (type === "node") return [];
    return [changeThing(type === "group" ? "groups" : "notes", partsOf(id).id, position)];
  });
  return chain(moveNodes(places), ...things);
}
