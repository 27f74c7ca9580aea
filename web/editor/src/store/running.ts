/** Running workflows: orders for jobs, and which job a tab shows. */

import type { OutputFile, Schemas } from "../api/client";
import { api, given, ServerError, told, Unreachable } from "../api/client";
import type { Workflow } from "../document/types";
import { asJson, isEdge } from "../document/types";
import { isAsBefore } from "../document/upstream";
import { specsNow } from "./specs";
import { ended, useRuns } from "./runs";
import type { Run, Runs } from "./runs";
import type { Tab } from "./workspace";
import { activeTab, newId, useWorkspace } from "./workspace";
import { strings } from "../strings";
import { useDocument } from "./document";

export type Order = Partial<Schemas["JobOrder"]>;

/** Queue a tab's document; its problems, if it has some, take their place in the store. */
export async function run(tab: Tab, order: Order = {}): Promise<string | null> {
  const { workflow, set } = tab.document.getState();
  const body: Schemas["JobOrder"] = { workflow: asJson(workflow), idempotency_key: newId(), ...order };
  const { workflow: document, inputs, outputs } = body;
  const explanation = given(api.POST("/api/v1/explain", { body: { workflow: document, inputs, outputs } })).catch(() => null);
  try {
    const job = await submitted(body);
    void explanation.then((told) => told && useRuns.getState().explained(job.id, told.steps));
    set({ jobs: [...tab.document.getState().jobs.filter(alive), job.id], ran: workflow });
    return job.id;
  } catch (error) {
    notQueued(tab, error);
    return null;
  }
}

const AGAIN_MS = 1000;

/** A job; asked for twice with the same key, because an answer may have been lost. Raises ServerError, Unreachable. */
async function submitted(body: Schemas["JobOrder"]): Promise<Schemas["Job"]> {
  try {
    return await given(api.POST("/api/v1/jobs", { body }));
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    return given(api.POST("/api/v1/jobs", { body }));
  }
}

/** Say why there is no job: problems go to their panel, all of them. */
function notQueued({ document }: Tab, error: unknown) {
  const words = strings().shell;
  const { notify, show } = useWorkspace.getState();
  if (error instanceof Unreachable) return notify("error", error.waited ? words.noAnswerRun : words.awayRun);
  if (!(error instanceof ServerError && error.status === 422)) return notify("error", told(error));
  const { checked, set } = document.getState();
  set({ checked: { ...checked, problems: error.problems as Schemas["Problem"][] } });
  show("right", "problems");
  notify("error", words.failedRun(error.problems.length));
}

/** Order jobs of a tab, unless that is under way already: a press that seems to do nothing is repeated. */
async function ordered(tab: Tab, work: () => Promise<unknown>): Promise<void> {
  const { ordering, set } = tab.document.getState();
  if (ordering) return;
  set({ ordering: true });
  await work().finally(() => set({ ordering: false }));
}

/** Queue a tab's workflow, several times if asked to; a random seed is drawn anew for each. */
export function runTab(tab: Tab, times = 1, order: Order = {}): Promise<void> {
  return ordered(tab, async () => {
    for (let n = 0; n < times; n++) if ((await run(tab, order)) === null) return;
  });
}

/** Queue the open workflow, as often as is asked for. */
export const runActive = (order: Order = {}) => runTab(activeTab(), useWorkspace.getState().times, order);

const NAME = "result";

/** Run what a node needs, and the node. */
export async function runTo(tab: Tab, id: string): Promise<void> {
  const { workflow } = tab.document.getState();
  const output = specsNow().get(workflow.nodes[id]?.type ?? "")?.outputs[0]?.name;
  const order = output === undefined ? { workflow: asJson(cut(workflow, id)) } : named(workflow, id, output);
  return ordered(tab, () => run(tab, order));
}

/** The document with a name for a node's output, which is all that is asked for. */
function named(workflow: Workflow, node: string, output: string): Order {
  const known = workflow.outputs.find(({ from }) => from.node === node && from.output === output);
  if (known) return { workflow: asJson(workflow), outputs: [known.name] };
  let name = NAME;
  while (workflow.outputs.some((item) => item.name === name)) name += "-";
  const outputs = [...workflow.outputs, { name, from: { node, output } }];
  return { workflow: asJson({ ...workflow, outputs }), outputs: [name] };
}

/** Only what a node without outputs needs. */
function cut(workflow: Workflow, id: string): Workflow {
  const kept = new Set<string>();
  const visit = (node: string) => {
    if (kept.has(node) || !workflow.nodes[node]) return;
    kept.add(node);
    for (const value of Object.values(workflow.nodes[node].inputs))
      for (const item of Array.isArray(value) ? value : [value]) if (isEdge(item)) visit(item.node);
  };
  visit(id);
  const nodes = Object.fromEntries(Object.entries(workflow.nodes).filter(([node]) => kept.has(node)));
  const inputs = workflow.inputs
    .map((item) => ({ ...item, to: item.to.filter(({ node }) => kept.has(node)) }))
    .filter(({ to }) => to.length);
  return { ...workflow, nodes, inputs, outputs: [] };
}

// Which job is shown

const alive = (job: string) => {
  const run = useRuns.getState().runs[job];
  return !run || !ended(run);
};

/** Of a tab's jobs the first that has not ended, else the last. */
export function shownJob(jobs: readonly string[], runs: Runs): string | null {
  return jobs.find((job) => !runs[job] || !ended(runs[job])) ?? jobs.at(-1) ?? null;
}

export function useShownJob(): string | null {
  const jobs = useDocument((state) => state.jobs);
  return useRuns((state) => shownJob(jobs, state.runs));
}

/** The run that the active tab shows. */
export function useShownRun<T>(select: (run: Run | undefined) => T): T {
  const jobs = useDocument((state) => state.jobs);
  return useRuns((state) => select(state.runs[shownJob(jobs, state.runs) ?? ""]));
}

/** Whether a node that failed may do better by now: it, or something that it needs, was changed since it was ordered. */
export function useIsMended(node: string): boolean {
  const [outer = node] = node.split("/");
  return useDocument(({ ran, workflow }) => ran !== null && !isAsBefore(ran, workflow, outer));
}

/** Why a node of the shown run had to run. */
export function useReason(node: string): string | undefined {
  const job = useShownJob();
  return useRuns((state) => state.reasons[job ?? ""]?.[node]);
}

const NO_FILES: readonly OutputFile[] = [];

/** The files that the shown job has saved so far. */
export function useShownFiles(): readonly OutputFile[] {
  const job = useShownJob();
  return useRuns((state) => state.files[job ?? ""] ?? NO_FILES);
}

/** Of saved files those that belong to named outputs of the workflow; where none does, all. */
export function resultsOf(files: readonly OutputFile[]): readonly OutputFile[] {
  const named = files.filter(({ outputs }) => outputs?.length);
  return named.length ? named : files;
}

/** Cancel what is left of a tab's jobs. */
export async function cancelShown(tab: Tab = activeTab()): Promise<void> {
  const jobs = tab.document.getState().jobs.filter(alive);
  try {
    for (const id of jobs.reverse()) await given(api.POST("/api/v1/jobs/{id}/cancel", { params: { path: { id } } }));
  } catch (error) {
    useWorkspace.getState().notify("error", told(error));
  }
}

/** Whether a job of the active tab waits or runs. */
export function useIsRunning(): boolean {
  const ids = useDocument((state) => state.jobs);
  return useRuns((state) => ids.some((job) => !state.runs[job] || !ended(state.runs[job])));
}
