import { create } from "zustand";
import type { NodeSpec, PortType } from "../api/client";
import { api, given, ServerError, Unreachable } from "../api/client";
import { newest } from "./newest";

/** What is installed on the server. */
interface CatalogState {
  specs: ReadonlyMap<string, NodeSpec>;
  types: ReadonlyMap<string, PortType>;
  /** The choices of each source that was asked for. */
  choices: Record<string, string[]>;
  ready: boolean;
  load(): Promise<void>;
  /** Ask for a source's choices, again if they are known. Raises ServerError, Unreachable. */
  loadChoices(source: string): Promise<void>;
}

const RETRY_MS = 1000;
const reading: Record<string, ReturnType<typeof newest>> = {};

export const useCatalog = create<CatalogState>()((set, get) => ({
  specs: new Map(),
  types: new Map(),
  choices: {},
  ready: false,
  async load() {
    const found = await patiently(() => given(api.GET("/api/v1/nodes")));
    set({
      specs: new Map(found.nodes.map((spec) => [spec.type, spec])),
      types: new Map(found.types.map((type) => [type.kind, type])),
      ready: true,
    });
    const models = found.nodes.flatMap(({ inputs }) => inputs.filter(({ kind }) => kind === "MODEL_FILE"));
    const sources = new Set(models.flatMap(({ source }) => source ?? []));
    await Promise.all([...sources].map((source) => get().loadChoices(source)));
  },
  async loadChoices(source) {
    const read = (reading[source] ??= newest());
    await read(given(api.GET("/api/v1/choices", { params: { query: { source } } })), ({ choices }) => {
      set({ choices: { ...get().choices, [source]: choices } });
    });
  },
}));

/** Ask until there is an answer: a server may be away, and in a fresh home it looks at the plugins first (503). */
export async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Unreachable || (error instanceof ServerError && error.status === 503))) throw error;
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

const PLAIN = "#8a8f98";

/** The colour of a kind of value. */
export function colourOf(types: ReadonlyMap<string, PortType>, kind: string): string {
  return types.get(kind)?.colour ?? PLAIN;
}
