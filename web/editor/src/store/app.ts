/** A workflow on a page of its own: what is filled in is kept in this browser, what its runs save is its history. */

import { isPassing } from "../api/client";
import { setNamed } from "../document/interface";
import { chain } from "../document/edit";
import { edgesIn, isObject } from "../document/types";
import type { Workflow } from "../document/types";
import { ofBrowser } from "../settings/storage";
import { EVERYTHING, followOutputs, useGallery } from "./gallery";
import type { DocumentStore } from "./opened";
import { rest } from "./patience";
import { openSaved } from "./session";
import { activeTab } from "./workspace";

/** The tag of the jobs that a workflow's page orders, and so of their files. */
export const tagOf = (name: string) => `app:${name}`;

const kept = (name: string) => `latentloom.app.${name}`;

/** Open the workflow of a page, with what was filled in last; while the server is away, again and again. Raises ServerError, NotAWorkflow. */
export async function openApp(name: string): Promise<() => void> {
  for (let n = 0; ; n++)
    try {
      await openSaved(name);
      return keepValues(name, activeTab().document);
    } catch (error) {
      if (!isPassing(error)) throw error;
      await rest(n);
    }
}

/** Fill in what was filled in last, and keep what is from now on. The answer ends it. */
function keepValues(name: string, document: DocumentStore): () => void {
  const values = ofBrowser.read(kept(name));
  const { workflow, edit } = document.getState();
  if (isObject(values)) edit(chain(...workflow.inputs.filter((item) => item.name in values).map((item) => setNamed(item, values[item.name]))));
  return document.subscribe((now, before) => {
    if (now.workflow !== before.workflow) ofBrowser.write(kept(name), valuesOf(now.workflow));
  });
}

/** The values of the named inputs as the document has them; an edge is none. */
function valuesOf({ inputs, nodes }: Workflow): Record<string, unknown> {
  const found = inputs.map(({ name, to: [target] }) => [name, nodes[target?.node ?? ""]?.inputs[target?.input ?? ""]] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined && edgesIn(value).length === 0));
}

/** Put the values back with which the workflow was saved; undo takes that back. */
export function resetApp(): void {
  const { saved, replace } = activeTab().document.getState();
  if (saved) replace(saved);
}

/** Follow what the page's runs have saved. The answer ends it. */
export function followApp(name: string): () => void {
  useGallery.setState({ search: { ...EVERYTHING, tag: tagOf(name) } });
  return followOutputs();
}
