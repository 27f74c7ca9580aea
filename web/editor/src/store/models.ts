import { create } from "zustand";
import type { Schemas } from "../api/client";
import { api, given } from "../api/client";

type Facts = Schemas["ModelFacts"];

/** What the server said of model files, by source and name; null while it is asked, and where it cannot tell. */
interface ModelState {
  facts: Record<string, Facts | null>;
  /** Ask for the facts of a file that nobody asked for yet. */
  load(source: string, name: string): Promise<void>;
}

export const keyOf = (source: string, name: string) => `${source}\n${name}`;

export const useModels = create<ModelState>()((set, get) => ({
  facts: {},
  async load(source, name) {
    const key = keyOf(source, name);
    if (key in get().facts) return;
    const put = (found: Facts | null) => set({ facts: { ...get().facts, [key]: found } });
    put(null);
    // A name that is half typed, or a file that was removed: the widget itself says that it is missing.
    await given(api.GET("/api/v1/models/facts", { params: { query: { source, name } } })).then(put, () => undefined);
  },
}));
