/** Sweeps: batches of the open workflow, which the server runs and keeps. */

import { create } from "zustand";
import type { Problem, Schemas } from "../api/client";
import { api, given, isPassing, ServerError, told } from "../api/client";
import { chain } from "../document/edit";
import type { Cell } from "../document/grid";
import { setNamed } from "../document/interface";
import type { Axis } from "../document/sweep";
import { MAX_CELLS } from "../document/sweep";
import { asJson, wrapped } from "../document/types";
import { strings } from "../strings";
import { whenHeard } from "./heard";
import type { Tab } from "./workspace";
import { activeTab, useActive, useWorkspace } from "./workspace";

export type Batch = Schemas["Batch"];

/** What a tab's panel holds. */
interface Sheet {
  axes: readonly Axis[];
  /** The batch that is shown. */
  shown: string | null;
  /** Why the last order was refused. */
  problems: readonly Partial<Problem>[];
  ordering: boolean;
}

const EMPTY: Sheet = { axes: [], shown: null, problems: [], ordering: false };

interface Table {
  /** In the order of the table, at most MAX_CELLS. */
  cells: readonly Cell[];
  /** The counts with which it was read. */
  counts: string;
}

interface SweepsState {
  /** By the `view` of the tab. */
  sheets: Readonly<Record<string, Sheet>>;
  batches: Readonly<Record<string, Batch>>;
  /** The tables of the batches that were shown. */
  tables: Readonly<Record<string, Table>>;
  /** Ids, the newest first. */
  listed: readonly string[];
  /** What the next page continues after; null: there is none. */
  next: number | null;
}

export const useSweeps = create<SweepsState>()(() => ({ sheets: {}, batches: {}, tables: {}, listed: [], next: null }));

export function useSheet(): Sheet {
  const { view } = useActive();
  return useSweeps((state) => state.sheets[view] ?? EMPTY);
}

export function changeSheet({ view }: Tab, change: Partial<Sheet>): void {
  const { sheets } = useSweeps.getState();
  useSweeps.setState({ sheets: { ...sheets, [view]: { ...(sheets[view] ?? EMPTY), ...change } } });
}

const tell = (error: unknown) => useWorkspace.getState().notify("error", told(error));

/** Start a batch of a tab's workflow; a refusal is kept with the axes. */
export async function startSweep(tab: Tab, axes: readonly Schemas["Axis"][]): Promise<void> {
  const workflow = asJson(tab.document.getState().workflow);
  changeSheet(tab, { ordering: true, problems: [] });
  try {
    const ordered = axes.toReversed(); // the last one changes fastest
    const batch = await given(api.POST("/api/v1/batches", { body: { workflow, axes: ordered } }));
    const { listed } = useSweeps.getState();
    keep([batch]);
    useSweeps.setState({ listed: [batch.id, ...listed.filter((id) => id !== batch.id)] });
    changeSheet(tab, { shown: batch.id });
  } catch (error) {
    if (error instanceof ServerError && error.status === 422) changeSheet(tab, { problems: error.problems });
    else tell(error);
  } finally {
    changeSheet(tab, { ordering: false });
  }
}

function keep(found: readonly Batch[]): void {
  const known = Object.fromEntries(found.map((batch) => [batch.id, batch]));
  useSweeps.setState({ batches: { ...useSweeps.getState().batches, ...known } });
}

/** Read the newest batches of the server, or those after the ones that are known. */
export async function listBatches(before?: number): Promise<void> {
  try {
    const { batches, next } = await given(api.GET("/api/v1/batches", { params: { query: { before } } }));
    keep(batches);
    const earlier = before === undefined ? [] : useSweeps.getState().listed;
    useSweeps.setState({ listed: [...new Set([...earlier, ...batches.map(({ id }) => id)])], next });
  } catch (error) {
    tell(error);
  }
}

// Watching

const LOOK_MS = 1000;

/** Keep a batch and its cells up to date. The answer ends it. */
export function followBatch(id: string): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let busy = false;
  let ended = false;
  const look = async () => {
    if (busy || ended) return;
    busy = true;
    clearTimeout(timer);
    const goesOn = await readBatch(id).catch((error: unknown) => isPassing(error) || tell(error));
    busy = false;
    if (goesOn && !ended) timer = setTimeout(() => void look(), LOOK_MS);
  };
  void look();
  const stop = whenHeard(/^job_/, () => void look());
  return () => ((ended = true), clearTimeout(timer), stop());
}

/** Read a batch, and its cells if their states changed. Tells whether it runs. Raises ServerError, Unreachable. */
async function readBatch(id: string): Promise<boolean> {
  const batch = await given(api.GET("/api/v1/batches/{id}", { params: { path: { id } } }));
  const counts = JSON.stringify(batch.counts);
  if (useSweeps.getState().tables[id]?.counts !== counts) {
    const query = { limit: MAX_CELLS };
    const { cells } = await given(api.GET("/api/v1/batches/{id}/cells", { params: { path: { id }, query } }));
    useSweeps.setState({ tables: { ...useSweeps.getState().tables, [id]: { cells, counts } } });
  }
  keep([batch]);
  return batch.state === "running";
}

const changed = (reply: Parameters<typeof given<Batch>>[0]) => given(reply).then((batch) => keep([batch]), tell);

export const cancelBatch = (id: string) => changed(api.POST("/api/v1/batches/{id}/cancel", { params: { path: { id } } }));

export const retryBatch = (id: string) => changed(api.POST("/api/v1/batches/{id}/retry", { params: { path: { id } } }));

// Results

/** Set a cell's values in the open workflow, as one step of undo, and say what it has no input for. */
export function takeValues({ inputs }: Cell): void {
  const words = strings().panels.sweep;
  const { workflow, edit } = activeTab().document.getState();
  const known = workflow.inputs.filter(({ name }) => name in inputs);
  edit(chain(...known.map((item) => setNamed(item, wrapped(inputs[item.name])))));
  const lacking = Object.keys(inputs).filter((name) => !known.some((item) => item.name === name));
  const { notify } = useWorkspace.getState();
  if (lacking.length) notify("warning", words.lacking(lacking.join(", ")));
  else notify("info", words.taken);
}
