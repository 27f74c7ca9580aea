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
  /** Ids of the files that are marked, for comparing. */
  marked: readonly number[];
  find(search: Partial<Search>): Promise<void>;
  more(): Promise<void>;
  /** Put what is new at the front. */
  refresh(): Promise<void>;
  remove(sha256: string): Promise<void>;
  mark(id: number): void;
  unmark(): void;
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
      marked: [],
      async find(search) {
        asked += 1;
        set({ search: { ...get().search, ...search } });
        await guarded(async () => ({ ...(await page()), known: true, marked: [] }));
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
      async remove(sha256) {
        await guarded(async () => {
          await given(api.DELETE("/api/v1/outputs/{sha256}", { params: { path: { sha256 } } }));
          return { outputs: get().outputs.filter((output) => output.sha256 !== sha256) };
        });
      },
      mark(id) {
        const { marked } = get();
        set({ marked: marked.includes(id) ? marked.filter((one) => one !== id) : [...marked.slice(-1), id] });
      },
      unmark: () => set({ marked: [] }),
    };
  });

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
