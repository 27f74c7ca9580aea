import { create } from "zustand";
import type { NodeSpec, PortType } from "../api/client";
import { api, given, told } from "../api/client";
import { inBothThemes } from "../theme/colour";
import { newest } from "./newest";
import { patiently } from "./patience";
import { useWorkspace } from "./workspace";

/** What is installed on the server. */
interface CatalogState {
  specs: ReadonlyMap<string, NodeSpec>;
  types: ReadonlyMap<string, PortType>;
  /** The choices of each source that was asked for. */
  choices: Record<string, string[]>;
  ready: boolean;
  load(signal?: AbortSignal): Promise<void>;
  /** Ask for a source's choices, again if they are known. Raises ServerError, Unreachable. */
  loadChoices(source: string): Promise<void>;
}

const reading: Record<string, ReturnType<typeof newest>> = {};

export const useCatalog = create<CatalogState>()((set, get) => ({
  specs: new Map(),
  types: new Map(),
  choices: {},
  ready: false,
  async load(signal) {
    const found = await patiently(() => given(api.GET("/api/v1/nodes")), signal);
    set({
      specs: new Map(found.nodes.map((spec) => [spec.type, spec])),
      types: new Map(found.types.map((type) => [type.kind, { ...type, colour: inBothThemes(type.colour) }])),
      ready: true,
    });
    const models = found.nodes.flatMap(({ inputs }) => inputs.filter(({ kind }) => kind === "MODEL_FILE"));
    const sources = new Set(models.flatMap(({ source }) => source ?? []));
    const tell = (error: unknown) => useWorkspace.getState().notify("error", told(error));
    await Promise.all([...sources].map((source) => patiently(() => get().loadChoices(source), signal).catch(tell)));
  },
  async loadChoices(source) {
    const read = (reading[source] ??= newest());
    await read(given(api.GET("/api/v1/choices", { params: { query: { source } } })), ({ choices }) => {
      set({ choices: { ...get().choices, [source]: choices } });
    });
  },
}));

const PLAIN = inBothThemes("#8a8f98");

/** The colour of a kind of value. */
export function colourOf(types: ReadonlyMap<string, PortType>, kind: string): string {
  return types.get(kind)?.colour ?? PLAIN;
}
