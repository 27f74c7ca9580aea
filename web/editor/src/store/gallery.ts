/** The pictures and files that jobs saved, page by page, as the server finds them. */

import { create } from "zustand";
import type { OutputFile } from "../api/client";
import { api, given, told } from "../api/client";
import { whenHeard } from "./heard";
import { useWorkspace } from "./workspace";

export const PAGE = 48;

export interface Search {
  q: string;
  model: string;
  seed: string;
  tag: string;
  job: string;
}

export const EVERYTHING: Search = { q: "", model: "", seed: "", tag: "", job: "" };

interface GalleryState {
  search: Search;
  outputs: readonly OutputFile[];
  /** What the next page continues after; null: there is none. */
  next: number | null;
  known: boolean;
  /** Ids of the files that are selected. */
  selected: readonly number[];
  find(search: Partial<Search>): Promise<void>;
  more(): Promise<void>;
  /** Put what is new at the front. */
  refresh(): Promise<void>;
  /** Move files to the trash. */
  remove(outputs: readonly OutputFile[]): Promise<void>;
  tag(outputs: readonly OutputFile[], tags: { add?: string[]; remove?: string[] }): Promise<void>;
  select(id: number, how?: How): void;
  selectAll(): void;
  deselect(): void;
}

export const createGallery = () =>
  create<GalleryState>()((set, get) => {
    let asked = 0;
    let busy = false;

    async function page(before?: number) {
      const { outputs, next } = await given(
        api.GET("/api/v1/outputs", { params: { query: { ...conditions(get().search), before, limit: PAGE } } }),
      );
      return { outputs, next };
    }

    /** Set what an answer says, unless something else has been asked for since. */
    async function guarded(work: () => Promise<Partial<GalleryState>>) {
      const mine = asked;
      try {
        const found = await work();
        if (mine === asked) set(found);
      } catch (error) {
        useWorkspace.getState().notify("error", told(error));
      }
    }

    return {
      search: EVERYTHING,
      outputs: [],
      next: null,
      known: false,
      selected: [],
      async find(search) {
        asked += 1;
        set({ search: { ...get().search, ...search } });
        await guarded(async () => {
          const found = await page();
          const shown = new Set(found.outputs.map(({ id }) => id));
          return { ...found, known: true, selected: get().selected.filter((id) => shown.has(id)) };
        });
      },
      async more() {
        const { next } = get();
        if (next === null || busy) return;
        busy = true;
        await guarded(async () => {
          const { outputs, next: after } = await page(next);
          return { outputs: [...get().outputs, ...outputs], next: after };
        });
        busy = false;
      },
      async refresh() {
        await guarded(async () => {
          const found = await page();
          return { ...merged(found, get()), known: true };
        });
      },
      async remove(outputs) {
        await guarded(async () => {
          const gone = await inParts(outputs, async (sha256) => {
            return (await given(api.POST("/api/v1/outputs/remove", { body: { sha256 } }))).outputs;
          });
          const ids = new Set(gone.map(({ id }) => id));
          const stays = (id: number) => !ids.has(id);
          return {
            outputs: get().outputs.filter(({ id }) => stays(id)),
            selected: get().selected.filter(stays),
          };
        });
      },
      async tag(outputs, { add = [], remove = [] }) {
        await guarded(async () => {
          const found = await inParts(outputs, async (sha256) => {
            return (await given(api.POST("/api/v1/outputs/tags", { body: { sha256, add, remove } }))).outputs;
          });
          const changed = new Map(found.map((output) => [output.id, output]));
          return { outputs: get().outputs.map((output) => changed.get(output.id) ?? output) };
        });
      },
      select(id, how = "toggle") {
        set({ selected: selectionAfter(get().outputs.map((output) => output.id), get().selected, id, how) });
      },
      selectAll: () => set({ selected: get().outputs.map(({ id }) => id) }),
      deselect: () => set({ selected: [] }),
    };
  });

/** The files that a request may name. */
export const MOST_FILES = 500;

/** Ask about files in as many requests as it takes. */
async function inParts(outputs: readonly OutputFile[], work: (sha256: string[]) => Promise<OutputFile[]>) {
  const all = [...new Set(outputs.map(({ sha256 }) => sha256))];
  const found: OutputFile[] = [];
  for (let at = 0; at < all.length; at += MOST_FILES) found.push(...(await work(all.slice(at, at + MOST_FILES))));
  return found;
}

/** `range`: all from the one that was selected last. */
export type How = "toggle" | "range";

/** The ids that are selected after a click; the last one is where a range begins. */
export function selectionAfter(ids: readonly number[], selected: readonly number[], id: number, how: How): number[] {
  const last = ids.indexOf(selected.at(-1) ?? NaN);
  if (how === "range" && last >= 0) {
    const at = ids.indexOf(id);
    const between = ids.slice(Math.min(at, last), Math.max(at, last) + 1);
    const first = ids[last] as number;
    return [...new Set([...selected, ...between])].filter((one) => one !== first).concat(first);
  }
  return selected.includes(id) ? selected.filter((one) => one !== id) : [...selected, id];
}

type Page = Pick<GalleryState, "outputs" | "next">;

/** The first page before what is shown already; where they do not touch, the first page alone. */
export function merged(first: Page, shown: Page): Page {
  const newest = shown.outputs[0]?.id ?? 0;
  const fresh = first.outputs.filter(({ id }) => id > newest);
  if (fresh.length === first.outputs.length && first.next !== null) return first;
  return { outputs: [...fresh, ...shown.outputs], next: shown.outputs.length ? shown.next : first.next };
}

/** The conditions that were given. */
function conditions(search: Search): Partial<Search> {
  return Object.fromEntries(Object.entries(search).flatMap(([name, text]) => (text.trim() ? [[name, text.trim()]] : [])));
}

export const useGallery = createGallery();

/** Show new files by themselves. The answer ends it. */
export function followOutputs(): () => void {
  const { refresh } = useGallery.getState();
  void refresh();
  return whenHeard(/^(file_saved|job_done)$/, () => void refresh());
}
