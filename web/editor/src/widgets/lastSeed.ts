import { useEffect } from "react";
import { create } from "zustand";
import type { Workflow } from "../document/types";
import { api, given } from "../api/client";
import { isObject } from "../document/types";
import { useDocument } from "../store/document";
import { useRunId } from "../store/seen";

type Nodes = Record<string, { inputs?: Record<string, unknown> }>;

interface DrawnState {
  /** The nodes of each job that was asked for, with the seeds that were drawn; null until they are here. */
  jobs: Record<string, Nodes | null>;
  load(job: string): Promise<void>;
}

/** What jobs ran with. */
const useDrawn = create<DrawnState>()((set, get) => ({
  jobs: {},
  async load(job) {
    if (job in get().jobs) return;
    set({ jobs: { ...get().jobs, [job]: null } });
    try {
      const document: unknown = await given(api.GET("/api/v1/jobs/{id}/workflow", { params: { path: { id: job } } }));
      const nodes = isObject(document) ? (document as unknown as Workflow).nodes : {};
      set({ jobs: { ...get().jobs, [job]: nodes as Nodes } });
    } catch {
      const { [job]: _, ...jobs } = get().jobs; // the job is gone: there is no last seed to tell
      set({ jobs });
    }
  },
}));

/** The seed with which an input's node was last run from this tab; null when it was not. */
export function useLastSeed(node: string | undefined, input: string): number | string | null {
  const job = useDocument((state) => state.jobs.at(-1) ?? null);
  const runId = useRunId(node ?? "");
  const load = useDrawn((state) => state.load);
  useEffect(() => {
    if (job !== null && node !== undefined) void load(job);
  }, [job, node, load]);
  const found = useDrawn((state) => (job && node ? state.jobs[job]?.[runId]?.inputs?.[input] : undefined));
  return typeof found === "number" || (typeof found === "string" && /^\d+$/.test(found)) ? found : null;
}
