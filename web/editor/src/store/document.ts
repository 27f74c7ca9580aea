import type { TemporalState } from "zundo";
import { useStore } from "zustand";
import type { DocumentState, History } from "./opened";
import { useActive } from "./workspace";

/** A part of the active tab's document store. */
export function useDocument<T>(select: (state: DocumentState) => T): T {
  return useStore(useActive().document, select);
}

export function useHistory<T>(select: (state: TemporalState<History>) => T): T {
  return useStore(useActive().document.temporal, select);
}
