import { create } from "zustand";
import { persist } from "zustand/middleware";
import type { Language } from "./language";
import { languageOf } from "./language";
import { ofBrowser } from "./storage";

export type Theme = "system" | "dark" | "light";

/** What a person prefers, kept in this browser. */
interface SettingsState {
  theme: Theme;
  language: Language;
  previews: boolean;
  snap: boolean;
  minimap: boolean;
  /** Whether the system tells of runs that end while the window is hidden. */
  notify: boolean;
  /** How often each node type was added. */
  uses: Record<string, number>;
  set(change: Partial<Omit<SettingsState, "set">>): void;
}

export const useSettings = create<SettingsState>()(
  persist(
    (set) => ({
      theme: "system",
      language: languageOf(navigator.languages ?? []),
      previews: true,
      snap: false,
      minimap: true,
      notify: false,
      uses: {},
      set,
    }),
    {
      name: "latentloom",
      version: 1,
      storage: {
        getItem: (name) => ofBrowser.read(name) as { state: SettingsState; version?: number } | null,
        setItem: (name, value) => void ofBrowser.write(name, value),
        removeItem: (name) => ofBrowser.remove(name),
      },
    },
  ),
);
