import { Background, Controls, MiniMap, ReactFlow, applyNodeChanges, useNodesInitialized, useReactFlow } from "@xyflow/react";
import type { Connection, EdgeChange, FinalConnectionState, HandleType, NodeChange, OnConnectEnd } from "@xyflow/react";
import type { MouseEvent } from "react";
import { useCallback, useEffect, useRef, useState } from "react";
import type { Inlet } from "../document/edit";
import type { Edge, Point } from "../document/types";
import { inletFor, inputPort, outletFor, outputPort, refusal, wire } from "../document/wiring";
import { useSettings } from "../settings/settings";
import { colourOf, useCatalog } from "../store/catalog";
import { seen, useSeen } from "../store/seen";
import { useSpecs } from "../store/specs";
import { useActive, useWorkspace } from "../store/workspace";
import { strings, useStrings } from "../strings";
import { GroupNode, NoteNode } from "./Frames";
import { LoomEdge } from "./LoomEdge";
import { Trail } from "./Trail";
import { WorkflowNode } from "./WorkflowNode";
import { cuts, membersOf, openInside, openPalette, placed } from "./actions";
import type { FlowEdge, FlowNode } from "./flow";
import { deriveEdges, deriveNodes, inletOf } from "./flow";
import { useCanvas } from "./state";

const NODE_TYPES = { node: WorkflowNode, frame: GroupNode, note: NoteNode };
const EDGE_TYPES = { loom: LoomEdge };
const MANY = ["Shift", "Meta", "Control"];
const GRID: [number, number] = [12, 12];
const PRO = { hideAttribution: false };

export function Canvas() {
  const { document: store } = useActive();
  const words = useStrings().canvas;
  const workflow = useSeen((state) => state.workflow);
  const selection = useSeen((state) => state.selection);
  const specs = useSpecs();
  const types = useCatalog((state) => state.types);
  const { minimap, snap } = useSettings();
  const [nodes, setNodes] = useState<FlowNode[]>(() => deriveNodes(workflow, selection, []));
  const [edges, setEdges] = useState<FlowEdge[]>([]);
  const viewport = useRef(store.getState().viewport);
  const unseen = useRef(viewport.current === null && nodes.length > 0);

  useEffect(() => setNodes((previous) => deriveNodes(workflow, selection, previous)), [workflow, selection]);
  useEffect(() => {
    const kindOf = (node: string, output: string) => outputPort(workflow, specs, { node, output })?.kind ?? "ANY";
    setEdges((previous) => deriveEdges(workflow, selection, previous, kindOf));
  }, [workflow, selection, specs]);

  const selectBy = useCallback(
    (changes: readonly (NodeChange<FlowNode> | EdgeChange<FlowEdge>)[]) => {
      const next = new Set(store.getState().selection);
      for (const change of changes)
        if (change.type === "select") change.selected ? next.add(change.id) : next.delete(change.id);
      store.getState().select(next);
    },
    [store],
  );

  const followers = useFollowers(setNodes);

  const onNodesChange = useCallback(
    (changes: NodeChange<FlowNode>[]) => {
      selectBy(changes);
      setNodes((old) => applyNodeChanges(changes.filter(({ type }) => type !== "select" && type !== "remove"), old));
      const moved = changes.flatMap((change): [string, Point][] =>
        change.type === "position" && change.dragging === false && change.position ? [[change.id, change.position]] : [],
      );
      const what = moved.map(([id]) => id).join(" ");
      if (moved.length) seen(store.getState()).edit(placed(new Map([...moved, ...followers.places()])), `move ${what}`);
    },
    [store, selectBy, followers],
  );

  const onConnect = ({ source, sourceHandle, target, targetHandle }: Connection) => {
    if (!sourceHandle || !targetHandle) return;
    const { workflow, edit } = seen(store.getState());
    edit(wire(workflow, specs, { node: source, output: sourceHandle }, inletOf(target, targetHandle)));
  };

  const refused = ({ source, sourceHandle, target, targetHandle }: Connection | FlowEdge) =>
    refusal(
      seen(store.getState()).workflow,
      specs,
      { node: source, output: sourceHandle ?? "" },
      inletOf(target, targetHandle ?? ""),
      strings().canvas.refused,
    );

  const onConnectEnd: OnConnectEnd = (event, state) => {
    if (reconnecting.current) return; // an edge that is there already
    if (state.toHandle) {
      const reason = state.isValid ? null : refused(connectionOf(state));
      if (reason && state.toNode !== state.fromNode) useWorkspace.getState().notify("warning", reason);
      return;
    }
    const { fromHandle, fromNode } = state;
    const { flow, set } = useCanvas.getState();
    if (!fromHandle?.id || !fromNode || !flow) return;
    const { clientX: x, clientY: y } = "changedTouches" in event ? (event.changedTouches[0] as Touch) : event;
    const loose =
      fromHandle.type === "source"
        ? { from: { node: fromNode.id, output: fromHandle.id } }
        : { to: inletOf(fromNode.id, fromHandle.id) };
    const under = document.elementFromPoint(x, y)?.closest<HTMLElement>(".react-flow__node-node")?.dataset.id;
    if (under && under !== fromNode.id) wireNode(under, loose);
    else if (!under) set({ palette: { at: flow.screenToFlowPosition({ x, y }), loose } });
  };

  /** An edge dropped on a node goes to the first of its ports that fits. */
  const wireNode = (id: string, loose: { from: Edge } | { to: Inlet }) => {
    const { workflow, edit } = seen(store.getState());
    const spec = specs.get(workflow.nodes[id]?.type ?? "");
    if (!spec) return;
    const { kind, list } = strings().canvas.refused;
    const name = (port: { kind: string; is_list: boolean }) => (port.is_list ? list(port.kind) : port.kind);
    if ("from" in loose) {
      const output = outputPort(workflow, specs, loose.from);
      const input = output && inletFor(spec, output, workflow.nodes[id]);
      if (!output) return;
      if (!input) return useWorkspace.getState().notify("warning", kind(output.name, name(output), spec.type, "—"));
      const inlet = { node: id, input: input.name, index: null };
      const reason = refusal(workflow, specs, loose.from, inlet, strings().canvas.refused);
      if (reason) useWorkspace.getState().notify("warning", reason);
      else edit(wire(workflow, specs, loose.from, inlet));
      return;
    }
    const input = inputPort(workflow, specs, loose.to.node, loose.to.input);
    const output = input && outletFor(spec, input);
    if (!output) return;
    const edge = { node: id, output: output.name };
    const reason = refusal(workflow, specs, edge, loose.to, strings().canvas.refused);
    if (reason) useWorkspace.getState().notify("warning", reason);
    else edit(wire(workflow, specs, edge, loose.to));
  };

  // An edge whose end is taken elsewhere moves; one whose end is let go over nothing is cut
  const reconnecting = useRef(false);
  const reconnected = useRef(false);
  const onReconnectStart = () => {
    reconnecting.current = true;
    reconnected.current = false;
  };
  const onReconnect = (old: FlowEdge, { source, sourceHandle, target, targetHandle }: Connection) => {
    reconnected.current = true;
    if (!sourceHandle || !targetHandle) return;
    seen(store.getState()).edit((current) => {
      const freed = cuts([old.id])(current);
      return wire(freed, specs, { node: source, output: sourceHandle }, inletOf(target, targetHandle))(freed);
    });
  };
  const onReconnectEnd = (_: unknown, edge: FlowEdge, __: HandleType, { toHandle }: FinalConnectionState) => {
    reconnecting.current = false;
    if (!reconnected.current && !toHandle) seen(store.getState()).edit(cuts([edge.id]));
  };

  const onDoubleClick = ({ target, clientX: x, clientY: y }: MouseEvent) => {
    const { flow } = useCanvas.getState();
    if (flow && (target as Element).classList.contains("react-flow__pane")) openPalette(flow.screenToFlowPosition({ x, y }));
  };
  const openMenu = (event: { preventDefault(): void; clientX: number; clientY: number }, id?: string) => {
    event.preventDefault();
    if (id && !store.getState().selection.has(id)) store.getState().select([id]);
    useCanvas.getState().set({ menu: { x: event.clientX, y: event.clientY } });
  };

  return (
    <ReactFlow<FlowNode, FlowEdge>
      aria-label={words.label}
      nodes={nodes}
      edges={edges}
      nodeTypes={NODE_TYPES}
      edgeTypes={EDGE_TYPES}
      onInit={(flow) => useCanvas.getState().set({ flow })}
      onNodesChange={onNodesChange}
      onEdgesChange={selectBy}
      onNodeDragStart={(_, __, dragged) => followers.begin(dragged)}
      onNodeDrag={(_, __, dragged) => followers.follow(dragged)}
      onNodeDragStop={followers.end}
      onSelectionDragStart={(_, dragged) => followers.begin(dragged)}
      onSelectionDrag={(_, dragged) => followers.follow(dragged)}
      onSelectionDragStop={followers.end}
      isValidConnection={(connection) => refused(connection as Connection) === null}
      onConnect={onConnect}
      onConnectEnd={onConnectEnd}
      onReconnectStart={onReconnectStart}
      onReconnect={onReconnect}
      onReconnectEnd={onReconnectEnd}
      onMoveEnd={(_, viewport) => store.getState().set({ viewport })}
      onDoubleClick={onDoubleClick}
      onPaneContextMenu={(event) => openMenu(event)}
      onSelectionContextMenu={(event) => openMenu(event)}
      onNodeDoubleClick={({ target }, { id }) => (target as Element).closest(".nodrag") || openInside(id)}
      onNodeContextMenu={(event, { id }) => openMenu(event, id)}
      onEdgeContextMenu={(event, { id }) => openMenu(event, id)}
      deleteKeyCode={null}
      multiSelectionKeyCode={MANY}
      zoomOnDoubleClick={false}
      connectionRadius={24}
      elevateNodesOnSelect={false}
      ariaLabelConfig={words.flow}
      snapToGrid={snap}
      snapGrid={GRID}
      onlyRenderVisibleElements
      minZoom={0.05}
      maxZoom={2.5}
      defaultViewport={viewport.current ?? undefined}
      proOptions={PRO}
    >
      {unseen.current && <FitOnce />}
      <Background gap={24} size={1.5} />
      {minimap && (
        <MiniMap<FlowNode>
          pannable
          zoomable
          nodeColor={(node) => miniature(node, workflow.nodes[node.id]?.type)}
          nodeClassName={({ type }) => `mini-${type}`}
        />
      )}
      <Controls showInteractive={false} />
      <Trail />
    </ReactFlow>
  );

  function miniature({ type }: FlowNode, name = ""): string {
    const kind = specs.get(name)?.outputs[0]?.kind;
    return type === "node" ? colourOf(types, kind ?? "") : "transparent";
  }
}

/** Show the whole workflow once its nodes have their sizes. */
function FitOnce() {
  const measured = useNodesInitialized();
  const { fitView } = useReactFlow();
  const done = useRef(false);
  useEffect(() => {
    if (!measured || done.current) return;
    done.current = true;
    void fitView({ padding: 0.12, maxZoom: 1 });
  }, [measured, fitView]);
  return null;
}

function connectionOf({ fromHandle, toHandle }: FinalConnectionState): Connection {
  const [source, target] = fromHandle?.type === "source" ? [fromHandle, toHandle] : [toHandle, fromHandle];
  return {
    source: source?.nodeId ?? "",
    sourceHandle: source?.id ?? null,
    target: target?.nodeId ?? "",
    targetHandle: target?.id ?? null,
  };
}

/** What is inside a group moves with it. */
function useFollowers(setNodes: (change: (old: FlowNode[]) => FlowNode[]) => void) {
  const started = useRef<{ groups: Map<string, Point>; of: Map<string, { group: string; at: Point }>; moved: Map<string, Point> } | null>(null);
  const [followers] = useState(() => ({
    begin(dragged: FlowNode[]) {
      const held = new Set(dragged.map(({ id }) => id));
      const groups = dragged.filter(({ type }) => type === "frame");
      const of = new Map<string, { group: string; at: Point }>();
      for (const { id: group } of groups)
        for (const id of membersOf(group)) {
          const node = useCanvas.getState().flow?.getNode(id);
          if (node && !held.has(id)) of.set(id, { group, at: node.position });
        }
      started.current = { groups: new Map(groups.map(({ id, position }) => [id, { ...position }])), of, moved: new Map() };
    },
    follow(dragged: FlowNode[]) {
      const start = started.current;
      if (!start || start.of.size === 0) return;
      const now = new Map(dragged.map(({ id, position }) => [id, position]));
      for (const [id, { group, at }] of start.of) {
        const [from, to] = [start.groups.get(group), now.get(group)];
        if (from && to) start.moved.set(id, { x: at.x + to.x - from.x, y: at.y + to.y - from.y });
      }
      setNodes((old) =>
        old.map((node) => {
          const position = start.moved.get(node.id);
          return position ? { ...node, position } : node;
        }),
      );
    },
    end: () => (started.current = null),
    places: (): Map<string, Point> => started.current?.moved ?? new Map<string, Point>(),
  }));
  return followers;
}
