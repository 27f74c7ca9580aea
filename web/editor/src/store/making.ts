/** The workflows behind jobs and pictures, and what can be done with a picture. */

import type { OutputFile, Schemas } from "../api/client";
import { api, archiveOf, contentOf, contentUrl, given, send, ServerError, told } from "../api/client";
import { addNode, chain, freshId, setInput } from "../document/edit";
import type { Part } from "../document/recall";
import { recall } from "../document/recall";
import { read } from "../document/read";
import type { Workflow } from "../document/types";
import { write } from "../document/write";
import { strings } from "../strings";
import { MOST_FILES } from "./gallery";
import { pathOf } from "./opened";
import { seenNow } from "./seen";
import { specsNow } from "./specs";
import { activeTab, useWorkspace } from "./workspace";

/** The document that a job ran. Raises ServerError, NotAWorkflow. */
async function workflowOf(job: string): Promise<Workflow> {
  return read(await given(api.GET("/api/v1/jobs/{id}/workflow", { params: { path: { id: job } } })));
}

/** The document that made a picture: the one in it, else its job's. Raises ServerError, NotAWorkflow. */
async function makingOf({ sha256, job }: OutputFile): Promise<Workflow> {
  try {
    const { workflow } = await given(api.GET("/api/v1/outputs/{sha256}/making", { params: { path: { sha256 } } }));
    return read(workflow);
  } catch (error) {
    if (error instanceof ServerError && error.status < 500) return workflowOf(job);
    throw error;
  }
}

export interface Facts {
  seconds: number | null;
  record: Record<string, unknown>;
}

/** What is known of a picture beyond its row in the gallery. */
export async function factsOf({ sha256, job }: OutputFile): Promise<Facts> {
  const [made, ran] = await Promise.allSettled([
    given(api.GET("/api/v1/outputs/{sha256}/making", { params: { path: { sha256 } } })),
    given(api.GET("/api/v1/jobs/{id}", { params: { path: { id: job } } })),
  ]);
  const times = ran.status === "fulfilled" ? ran.value : null;
  return {
    seconds: times?.started && times.finished ? times.finished - times.started : null,
    record: made.status === "fulfilled" ? made.value.record : {},
  };
}

export const openJob = (job: string) => attempt(async () => void useWorkspace.getState().open(await workflowOf(job)));

export const openMaking = (output: OutputFile) =>
  attempt(async () => void useWorkspace.getState().open(await makingOf(output)));

export const savePicture = (output: OutputFile) => download(contentUrl(output.sha256), fileName(output));

export const saveWorkflow = (output: OutputFile) =>
  attempt(async () => {
    const text = new Blob([write(await makingOf(output))], { type: "application/json" });
    downloadBlob(text, fileName(output).replace(/\.\w+$/, "") + ".json");
  });

/** Download files in ZIP archives of at most as many as a request may name. */
export const saveArchive = (outputs: readonly OutputFile[]) =>
  attempt(async () => {
    for (let at = 0; at < outputs.length; at += MOST_FILES) {
      const part = outputs.slice(at, at + MOST_FILES);
      const bytes = part.reduce((sum, output) => sum + output.bytes, 0);
      downloadBlob(await archiveOf([...new Set(part.map(({ sha256 }) => sha256))], bytes), "latentloom.zip");
    }
  });

/** Put a part of the values that made a picture into the open workflow. */
export const recallInto = (output: OutputFile, part: Part) =>
  attempt(async () => {
    const made = await makingOf(output);
    const { workflow, edit } = activeTab().document.getState();
    const { edit: change, placed, left } = recall(made, workflow, specsNow(), part);
    if (placed) edit(change);
    useWorkspace.getState().notify(left ? "warning" : "info", strings().panels.gallery.recalled(placed, left));
  });

export const fileName = ({ path }: OutputFile) => path.split("/").pop() ?? path;

function download(url: string, name: string) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

function downloadBlob(content: Blob, name: string) {
  const url = URL.createObjectURL(content);
  download(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const LOADER = "LoadImage";

/** Lead a picture into the open workflow, or the open sub-workflow of it, and tell the node as `use/node`: its selected or only LoadImage node, else a new one. */
export const takeAsInput = (output: OutputFile) =>
  attempt(async () => {
    const content = await contentOf(output.sha256);
    const { name } = await send<Schemas["StoredFile"]>("api/v1/files", content, output.media);
    const { workflow, selection, edit, inside } = seenNow();
    const loaders = Object.keys(workflow.nodes).filter((id) => workflow.nodes[id]?.type === LOADER);
    const chosen = loaders.filter((id) => selection.has(id));
    const known = chosen.length === 1 ? chosen[0] : loaders.length === 1 ? loaders[0] : undefined;
    const id = known ?? freshId(LOADER, (taken) => taken in workflow.nodes);
    const fresh = known ? [] : [addNode(id, { type: LOADER, version: 1, inputs: {} }, corner(workflow))];
    edit(chain(...fresh, setInput(id, "image", name)));
    useWorkspace.getState().notify("info", strings().panels.gallery.usedAsInput(id));
    return [...pathOf({ inside }), id].join("/");
  });

/** Left of everything. */
function corner({ layout }: Workflow) {
  const places = Object.values(layout.nodes);
  if (places.length === 0) return { x: 0, y: 0 };
  return { x: Math.min(...places.map(({ x }) => x)) - 320, y: Math.min(...places.map(({ y }) => y)) };
}

/** What the work gives; undefined when it failed, which a notice says. */
async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
    return undefined;
  }
}
