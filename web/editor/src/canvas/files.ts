/** Files that are dropped or pasted: a document or a picture with a workflow opens it, another picture is loaded. */

import type { DragEvent } from "react";
import type { Schemas } from "../api/client";
import { send, ServerError, told } from "../api/client";
import { pieceOf } from "../document/clip";
import { addNode, freshId, setInput } from "../document/edit";
import type { Specs } from "../document/wiring";
import { read } from "../document/read";
import type { Point, Target, Workflow } from "../document/types";
import { seenNow } from "../store/seen";
import { specsNow } from "../store/specs";
import { useWorkspace } from "../store/workspace";
import { strings } from "../strings";
import { pointOnCanvas, useCanvas } from "./state";

export function takeFiles(files: readonly File[], at = pointOnCanvas()) {
  files.forEach((file, n) => void takeFile(file, { x: at.x + 32 * n, y: at.y + 32 * n }));
}

/** For what lies over the canvas too: an element whose dropped files are taken. */
export const dropArea = {
  onDragOver: (event: DragEvent) => event.preventDefault(),
  onDrop(event: DragEvent) {
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    const at = { x: event.clientX, y: event.clientY };
    takeFiles([...event.dataTransfer.files], useCanvas.getState().flow?.screenToFlowPosition(at) ?? at);
  },
};

async function takeFile(file: File, at: Point) {
  const { notify } = useWorkspace.getState();
  try {
    if (!(await opened(file)) && file.type.startsWith("image/")) await loaded(file, at);
  } catch (error) {
    notify("error", `${file.name}: ${told(error)}`);
  }
}

/** Open the workflow in a file; false for a picture that carries none. The server reads what is no document of ours. */
async function opened(file: File): Promise<boolean> {
  const own = file.name.endsWith(".json") ? pieceOf(await file.text()) : null;
  if (own) return show(own, file);
  let found: Schemas["Imported"];
  try {
    found = await send<Schemas["Imported"]>("api/v1/import", file, mediaOf(file));
  } catch (error) {
    if (error instanceof ServerError && error.status < 500 && file.type.startsWith("image/")) return false;
    throw error;
  }
  if (found.report) useWorkspace.getState().notify("info", strings().canvas.report, textOf(found.report));
  return show(read(found.workflow), file);
}

function show(workflow: Workflow, { name }: File): true {
  useWorkspace.getState().open({ ...workflow, name: workflow.name || name.replace(/\.\w+$/, "") });
  return true;
}

const mediaOf = ({ name, type }: File) => (name.endsWith(".json") ? "application/json" : type || "application/octet-stream");

/** The lines of an import report, the source first. */
export function textOf(report: unknown): string {
  const { source, lines } = (report ?? {}) as { source?: unknown; lines?: unknown };
  if (typeof source !== "string" || !Array.isArray(lines)) return JSON.stringify(report, null, 2);
  return [source, ...(lines.length > 0 ? lines : [strings().canvas.nothingLost])].join("\n");
}

/** The picture input that waits for a picture: a selected node's, else the only one. */
function emptyPicture(workflow: Workflow, specs: Specs, selection: ReadonlySet<string>): Target | undefined {
  const empty = Object.entries(workflow.nodes).flatMap(([node, { type, inputs }]) =>
    (specs.get(type)?.inputs ?? []).flatMap(({ name, kind, widget }) =>
      kind === "FILE" && widget !== "mask" && !inputs[name] ? [{ node, input: name }] : [],
    ),
  );
  const chosen = empty.filter(({ node }) => selection.has(node));
  return chosen[0] ?? (empty.length === 1 ? empty[0] : undefined);
}

async function loaded(file: File, at: Point) {
  const stored = await send<Schemas["StoredFile"]>("api/v1/files", file);
  const { workflow, edit, select, selection } = seenNow();
  const empty = emptyPicture(workflow, specsNow(), selection);
  if (empty) return edit(setInput(empty.node, empty.input, stored.name)), select([empty.node]);
  const id = freshId("LoadImage", (name) => name in workflow.nodes);
  edit(addNode(id, { type: "LoadImage", version: 1, inputs: { image: stored.name } }, at));
  select([id]);
}
