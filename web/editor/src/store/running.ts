import type { Schemas } from "../api/client";
import { api, given, ServerError, told } from "../api/client";
import type { Tab } from "./workspace";
import { activeTab, useWorkspace } from "./workspace";

/** Queue a tab's document; its problems, if it has some, take their place in the store. */
export async function run(tab: Tab, order: Partial<Schemas["JobOrder"]> = {}): Promise<string | null> {
  const { workflow, checked, set } = tab.document.getState();
  const body = { ...order, workflow: workflow as unknown as Record<string, unknown> } as Schemas["JobOrder"];
  try {
    const job = await given(api.POST("/api/v1/jobs", { body }));
    set({ job: job.id });
    return job.id;
  } catch (error) {
    if (error instanceof ServerError && error.status === 422)
      set({ checked: { ...checked, problems: error.problems as Schemas["Problem"][] } });
    useWorkspace.getState().notify("error", told(error));
    return null;
  }
}

export const runActive = () => run(activeTab());
