/** Everything that can be done to a workflow by key, menu or button, in one list. */

import { told } from "../api/client";
import { arranged, frame, inside } from "../document/arrange";
import type { Arrangement } from "../document/arrange";
import { blockOf } from "../document/blocks";
import { copied, paste, pieceOf } from "../document/clip";
import type { Edit } from "../document/edit";
import {
  addThing,
  chain,
  changePlace,
  changeThing,
  disconnect,
  freshId,
  freshNumber,
  moveNodes,
  removeNodes,
  removeThings,
  toggleMode,
} from "../document/edit";
import { freshGraph, graphOf } from "../document/graphs";
import { pack, unpack } from "../document/packing";
import type { Path } from "../document/levels";
import { toggleRepeat } from "../document/repeat";
import type { Point, Workflow } from "../document/types";
import { write } from "../document/write";
import { useSettings } from "../settings/settings";
import { save, saveAs, versionOf } from "../store/library";
import { pathOf } from "../store/opened";
import { seenNow } from "../store/seen";
import { specsNow } from "../store/specs";
import { cancelShown, runActive, runTo } from "../store/running";
import { activeTab, useWorkspace } from "../store/workspace";
import type { Strings } from "../strings";
import { strings } from "../strings";
import { shownKeys } from "../widgets/keys";
import { inletOfEdge } from "./flow";
import { boxesOf, glide, pointOnCanvas, selected, useCanvas } from "./state";

export interface Action {
  id: keyof Strings["canvas"]["actions"];
  section: keyof Strings["canvas"]["sections"];
  /** Keys as `event.key`, with Mod for Ctrl or Command. The clipboard's keys are the browser's own. */
  keys: readonly string[];
  /** What must be selected for it to be of use; nothing: always. `things`: nodes, groups or notes; `any`: edges too. `outer`: a node of the document itself; `inside`: a sub-workflow is open. */
  needs?: "node" | "outer" | "nodes" | "things" | "graph" | "use" | "inside" | "any";
  menu?: boolean;
  run(): void;
}

const doc = seenNow;
const parts = () => selected(doc().selection);

export const ACTIONS: readonly Action[] = [
  { id: "save", section: "edit", keys: ["Mod+S"], run: () => void save(activeTab()) },
  { id: "saveAs", section: "edit", keys: ["Mod+Shift+S"], run: () => void saveAs(activeTab()) },
  { id: "palette", section: "edit", keys: ["/", "Shift+A"], menu: true, run: () => openPalette() },
  { id: "undo", section: "edit", keys: ["Mod+Z"], run: () => activeTab().document.temporal.getState().undo() },
  { id: "redo", section: "edit", keys: ["Mod+Shift+Z", "Mod+Y"], run: () => activeTab().document.temporal.getState().redo() },
  { id: "copy", section: "edit", keys: ["Mod+C"], needs: "things", menu: true, run: () => toClipboard(clipping()) },
  { id: "cut", section: "edit", keys: ["Mod+X"], needs: "things", run: () => (toClipboard(clipping()), removeSelected()) },
  { id: "paste", section: "edit", keys: ["Mod+V"], menu: true, run: () => void fromClipboard(false) },
  { id: "pasteLinked", section: "edit", keys: ["Mod+Shift+V"], run: () => void fromClipboard(true) },
  { id: "duplicate", section: "edit", keys: ["Mod+D"], needs: "things", menu: true, run: duplicate },
  { id: "delete", section: "edit", keys: ["Delete", "Backspace"], needs: "any", menu: true, run: removeSelected },
  { id: "selectAll", section: "edit", keys: ["Mod+A"], run: selectAll },
  { id: "rename", section: "edit", keys: ["F2"], needs: "node", menu: true, run: rename },
  { id: "replace", section: "edit", keys: ["Shift+R"], needs: "node", menu: true, run: replace },
  { id: "repeat", section: "edit", keys: ["Shift+T"], needs: "node", menu: true, run: repeatSelected },
  { id: "bypass", section: "edit", keys: ["Mod+B"], needs: "nodes", menu: true, run: () => doc().edit(toggleMode(parts().nodes, "bypass")) },
  { id: "mute", section: "edit", keys: ["Mod+M"], needs: "nodes", menu: true, run: () => doc().edit(toggleMode(parts().nodes, "mute")) },
  { id: "collapse", section: "edit", keys: ["Alt+C"], needs: "nodes", menu: true, run: () => toggleCollapse(parts().nodes) },
  { id: "group", section: "edit", keys: ["Mod+G"], menu: true, run: addGroup },
  { id: "pack", section: "edit", keys: ["Shift+P"], needs: "nodes", menu: true, run: packSelected },
  { id: "open", section: "edit", keys: ["Enter"], needs: "use", menu: true, run: () => openInside([...parts().nodes][0] ?? "") },
  { id: "leave", section: "edit", keys: ["Escape"], needs: "inside", menu: true, run: () => goTo(pathOf(doc()).slice(0, -1)) },
  { id: "unpack", section: "edit", keys: ["Shift+U"], needs: "graph", menu: true, run: unpackSelected },
  { id: "note", section: "edit", keys: ["Shift+N"], menu: true, run: addNote },
  { id: "alignLeft", section: "view", keys: ["Shift+ArrowLeft"], needs: "nodes", run: () => arrange("alignLeft") },
  { id: "alignTop", section: "view", keys: ["Shift+ArrowUp"], needs: "nodes", run: () => arrange("alignTop") },
  { id: "spreadDown", section: "view", keys: ["Shift+ArrowDown"], needs: "nodes", run: () => arrange("spreadDown") },
  { id: "spreadRight", section: "view", keys: ["Shift+ArrowRight"], needs: "nodes", run: () => arrange("spreadRight") },
  { id: "layout", section: "view", keys: ["Shift+L"], menu: true, run: () => void layOut() },
  { id: "fit", section: "view", keys: [".", "Home"], menu: true, run: () => fit() },
  { id: "fitSelection", section: "view", keys: ["F"], needs: "things", run: () => fit(doc().selection) },
  { id: "snap", section: "view", keys: ["Shift+S"], run: () => useSettings.getState().set({ snap: !useSettings.getState().snap }) },
  { id: "minimap", section: "view", keys: ["Shift+M"], run: () => useSettings.getState().set({ minimap: !useSettings.getState().minimap }) },
  { id: "help", section: "view", keys: ["?", "F1"], run: () => useWorkspace.getState().ask("help") },
  { id: "run", section: "run", keys: ["Mod+Enter"], run: () => void runActive() },
  { id: "runFront", section: "run", keys: ["Mod+Alt+Enter"], run: () => void runActive({ front: true }) },
  { id: "runTo", section: "run", keys: ["Mod+Shift+Enter"], needs: "outer", menu: true, run: () => void runTo(activeTab(), [...parts().nodes][0] ?? "") },
  { id: "cancel", section: "run", keys: ["Mod+Alt+C"], run: () => void cancelShown() },
];

/** Whether the selection is what an action needs. */
export function applies({ needs }: Action, selection: ReadonlySet<string>): boolean {
  const { nodes: ids, groups, notes } = selected(selection);
  if (needs === "graph") return [...ids].some(isGraph);
  if (needs === "inside") return doc().inside.length > 0;
  if (needs === "use") return ids.size === 1 && [...ids].every(isGraph);
  if (needs === "outer") return ids.size === 1 && doc().inside.length === 0;
  if (needs === "things") return ids.size + groups.size + notes.size > 0;
  const nodes = ids.size;
  return !needs || (needs === "any" ? selection.size > 0 : needs === "node" ? nodes === 1 : nodes > 0);
}

/** Show what is inside a node that uses a sub-workflow. */
export function openInside(id: string) {
  if (isGraph(id)) goTo([...pathOf(doc()), id]);
}

/** Show a level of the document. */
export function goTo(path: Path) {
  useCanvas.getState().set({ renaming: null, palette: null, menu: null });
  doc().goTo(path);
}

/** Whether a node of the active document uses a sub-workflow that is there. */
function isGraph(id: string): boolean {
  const { workflow } = doc();
  return graphOf(workflow, workflow.nodes[id]?.type ?? "") !== undefined;
}

function packSelected() {
  const { workflow } = doc();
  const { nodes } = parts();
  const name = freshGraph(workflow.graphs);
  const id = freshId(name, (taken) => taken in workflow.nodes && !nodes.has(taken));
  doc().edit(pack(nodes, name, id));
  doc().select([id]);
}

function unpackSelected() {
  const ids: string[] = [];
  const all = [...parts().nodes].filter(isGraph);
  doc().edit(chain(...all.map((id) => unpack(id, ids))));
  doc().select(ids);
}

export function openPalette(at = pointOnCanvas()) {
  useCanvas.getState().set({ palette: { at }, menu: null });
}

function replace() {
  const [id] = parts().nodes;
  if (id) useCanvas.getState().set({ palette: { at: pointOnCanvas(), replace: id } });
}

/** Repeat the selected node and show the form; or let it run once again. */
function repeatSelected() {
  const [id] = parts().nodes;
  const spec = specsNow().get(doc().workflow.nodes[id ?? ""]?.type ?? "");
  if (!id || !spec) return;
  doc().edit(toggleRepeat(id, spec));
  useCanvas.getState().set({ repeating: doc().workflow.nodes[id]?.repeat ? id : null });
}

function rename() {
  const [id] = parts().nodes;
  if (id) useCanvas.getState().set({ renaming: id });
}

export function removeSelected() {
  const { nodes, groups, notes, edges } = parts();
  doc().edit(chain(cuts(edges), removeNodes(nodes), removeThings("groups", groups), removeThings("notes", notes)));
  doc().select([]);
}

/** Cut edges; items of a list from its end, so that the places of the others hold. */
export function cuts(edges: Iterable<string>): Edit {
  const inlets = [...edges].map(inletOfEdge).sort((a, b) => (b.index ?? 0) - (a.index ?? 0));
  return chain(...inlets.map((inlet) => disconnect(inlet)));
}

function selectAll() {
  const { nodes, layout } = doc().workflow;
  doc().select([
    ...Object.keys(nodes),
    ...layout.groups.map(({ id }) => `group:${id}`),
    ...layout.notes.map(({ id }) => `note:${id}`),
  ]);
}

export function toggleCollapse(ids: Iterable<string>) {
  const all = [...ids];
  const places = doc().workflow.layout.nodes;
  const collapsed = !all.every((id) => places[id]?.collapsed);
  doc().edit(chain(...all.map((id) => changePlace(id, { collapsed: collapsed || undefined }))));
}

// Clipboard: the keys arrive as the browser's own events, which need no permission; see shortcuts.ts

export const clipping = () => write(copied(doc().workflow, parts()));

export function pasteText(text: string, linked: boolean, at = pointOnCanvas()): boolean {
  const piece = pieceOf(text);
  if (piece === null) return false;
  insert(piece, at, linked);
  return true;
}

function insert(piece: Workflow, at: Point, linked: boolean) {
  const { edit, ids } = paste(doc().workflow, piece, at, linked);
  doc().edit(edit);
  doc().select(ids);
}

/** Insert a copy of a saved workflow as a node that uses it. */
export async function insertSaved(name: string) {
  try {
    const { workflow, version } = await versionOf(name);
    insert(blockOf(workflow, { name, version }), pointOnCanvas(), false);
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
  }
}

/** Put a text into the clipboard. */
export function toClipboard(text: string) {
  if (navigator.clipboard) void navigator.clipboard.writeText(text).catch(() => byCommand(text));
  else byCommand(text);
}

/** Over plain http a page has no other way than the browser's copy command. */
function byCommand(text: string) {
  const put = (event: ClipboardEvent) => {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("copy", put, { capture: true, once: true });
  document.execCommand("copy");
  document.removeEventListener("copy", put, { capture: true });
}

async function fromClipboard(linked: boolean) {
  const { notify } = useWorkspace.getState();
  const words = strings().canvas;
  const text = await navigator.clipboard?.readText().catch(() => null);
  if (typeof text !== "string") notify("info", words.pasteByKey(shownKeys(linked ? "Mod+Shift+V" : "Mod+V")));
  else if (!pasteText(text, linked)) notify("info", words.nothingToPaste);
}

function duplicate() {
  const boxes = [...boxesOf(doc().selection).values()];
  if (boxes.length === 0) return;
  const corner = { x: Math.min(...boxes.map(({ x }) => x)) + 32, y: Math.min(...boxes.map(({ y }) => y)) + 32 };
  insert(copied(doc().workflow, parts()), corner, true);
}

// Layout

function addGroup() {
  const { layout } = doc().workflow;
  const boxes = boxesOf(doc().selection);
  const id = freshNumber(layout.groups);
  const box = boxes.size ? frame(boxes) : { ...pointOnCanvas(), width: 360, height: 240 };
  doc().edit(addThing("groups", { id, title: strings().canvas.group, ...box }));
  doc().select([`group:${id}`]);
  useCanvas.getState().set({ renaming: `group:${id}` });
}

function addNote() {
  const id = freshNumber(doc().workflow.layout.notes);
  doc().edit(addThing("notes", { id, text: "", ...pointOnCanvas(), width: 240, height: 120 }));
  doc().select([`note:${id}`]);
}

function arrange(how: Arrangement) {
  doc().edit(placed(arranged(boxesOf(doc().selection), how)));
}

/** Move nodes, groups and notes, by their flow ids. */
export function placed(places: ReadonlyMap<string, Point>): Edit {
  const moved = selected(new Set(places.keys()));
  const at = (id: string) => places.get(id) as Point;
  return chain(
    moveNodes(new Map([...moved.nodes].map((id) => [id, at(id)]))),
    ...[...moved.groups].map((id) => changeThing("groups", id, at(`group:${id}`))),
    ...[...moved.notes].map((id) => changeThing("notes", id, at(`note:${id}`))),
  );
}

/** What a group takes along when it is dragged. */
export function membersOf(group: string): string[] {
  const own = boxesOf([group]).get(group);
  const { nodes, layout } = doc().workflow;
  const others = boxesOf([...Object.keys(nodes), ...layout.notes.map(({ id }) => `note:${id}`)]);
  return own ? inside(own, others) : [];
}

async function layOut() {
  const { workflow, selection, edit } = doc();
  const some = selected(selection).nodes;
  const boxes = boxesOf(some.size > 1 ? some : Object.keys(workflow.nodes));
  if (boxes.size === 0) return;
  const { layered } = (await import("../document/layered").catch(() => null)) ?? {}; // the session tells why
  if (!layered) return;
  edit(placed(layered(workflow, boxes)));
  requestAnimationFrame(() => fit());
}

function fit(ids?: Iterable<string>) {
  const nodes = ids && [...ids].map((id) => ({ id }));
  void useCanvas.getState().flow?.fitView({ nodes, padding: 0.15, maxZoom: 1.2, duration: glide() });
}
