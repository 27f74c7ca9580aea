import { create } from "zustand";
import { emptyWorkflow, isBlank } from "../document/types";
import type { Workflow } from "../document/types";
import type { DocumentStore } from "./opened";
import { createDocument } from "./opened";

/** An open workflow. The id is that of its draft on the server, and may change; `view` stays. */
export interface Tab {
  id: string;
  view: string;
  document: DocumentStore;
}

export type Side = "left" | "right" | "bottom";

export interface Notice {
  id: number;
  kind: "info" | "warning" | "error";
  text: string;
  detail?: string;
}

interface WorkspaceState {
  tabs: Tab[];
  active: string;
  /** The panel that is open on each side; null: none. */
  panels: Record<Side, string | null>;
  notices: Notice[];
  /** The dialog that is open, by its name. */
  dialog: string | null;
  /** How often "Run" queues the workflow. */
  times: number;
  /** In a tab of its own; an untouched empty tab gives way. */
  open(workflow: Workflow, id?: string): Tab;
  close(id: string): void;
  activate(id: string): void;
  /** Give a tab another id: its draft is kept as another one from now on. */
  renew(id: string): void;
  show(side: Side, panel: string | null): void;
  notify(kind: Notice["kind"], text: string, detail?: string): void;
  dismiss(id: number): void;
  ask(dialog: string | null): void;
  repeat(times: number): void;
}

/** An id for a tab and its draft. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing on pages over plain http
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function tabOf(workflow: Workflow, id = newId()): Tab {
  return { id, view: newId(), document: createDocument(workflow) };
}

/** Whether nobody did anything in a tab. */
export function isUntouched({ document }: Tab): boolean {
  return isBlank(document.getState().workflow) && document.temporal.getState().pastStates.length === 0;
}

/** Narrower windows have room for one panel beside the canvas, in px. */
const BOTH_SIDES = 1000;

const SHOWN = 4;

/** At most as many as fit; what is not urgent gives way first. */
function room(notices: Notice[]): Notice[] {
  const spare = notices.length - SHOWN;
  const urgent = (kind: Notice["kind"]) => Number(kind === "error");
  const gone = notices.slice(0, -1).sort((a, b) => urgent(a.kind) - urgent(b.kind)).slice(0, Math.max(0, spare));
  return notices.filter((notice) => !gone.includes(notice));
}

const isSame = (a: Notice, b: Notice) => a.kind === b.kind && a.text === b.text && a.detail === b.detail;

export const createWorkspace = () =>
  create<WorkspaceState>()((set, get) => {
    const first = tabOf(emptyWorkflow());
    let notices = 0;
    return {
      tabs: [first],
      active: first.id,
      panels: { left: null, right: null, bottom: null },
      notices: [],
      dialog: null,
      times: 1,
      open(workflow, id) {
        const tab = tabOf(workflow, id);
        const empty = isBlank(workflow) ? null : get().tabs.find((one) => one.id === get().active && isUntouched(one));
        set({ tabs: [...get().tabs.filter((one) => one !== empty), tab], active: tab.id });
        return tab;
      },
      close(id) {
        const { tabs, active } = get();
        const at = tabs.findIndex((tab) => tab.id === id);
        const rest = tabs.filter((tab) => tab.id !== id);
        if (rest.length === 0) rest.push(tabOf(emptyWorkflow()));
        const neighbour = rest[Math.min(at, rest.length - 1)] as Tab;
        set({ tabs: rest, active: active === id ? neighbour.id : active });
      },
      activate: (active) => set({ active }),
      renew(id) {
        const fresh = newId();
        const tabs = get().tabs.map((tab) => (tab.id === id ? { ...tab, id: fresh } : tab));
        set({ tabs, active: get().active === id ? fresh : get().active });
      },
      show(side, panel) {
        const others = panel !== null && innerWidth < BOTH_SIDES && side !== "bottom" ? { left: null, right: null } : {};
        set({ panels: { ...get().panels, ...others, [side]: panel } });
      },
      notify(kind, text, detail) {
        const notice: Notice = { id: ++notices, kind, text, detail };
        set({ notices: room([...get().notices.filter((one) => !isSame(one, notice)), notice]) });
      },
      ask: (dialog) => set({ dialog }),
      repeat: (times) => set({ times }),
      dismiss: (id) => set({ notices: get().notices.filter((notice) => notice.id !== id) }),
    };
  });

export const useWorkspace = createWorkspace();

export function activeTab(): Tab {
  const { tabs, active } = useWorkspace.getState();
  return (tabs.find((tab) => tab.id === active) ?? tabs[0]) as Tab;
}

/** The tab that is looked at. */
export function useActive(): Tab {
  return useWorkspace((state) => (state.tabs.find((tab) => tab.id === state.active) ?? state.tabs[0]) as Tab);
}
