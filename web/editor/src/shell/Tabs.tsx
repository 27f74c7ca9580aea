import { useStore } from "zustand";
import type { Tab } from "../store/workspace";
import { useWorkspace } from "../store/workspace";
import { emptyWorkflow, isBlank } from "../document/types";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { focusCanvas } from "../canvas/state";

export function Tabs() {
  const words = useStrings().shell;
  const { tabs, open } = useWorkspace();
  return (
    <nav className="tabs" aria-label={words.tabs}>
      {tabs.map((tab) => (
        <OneTab key={tab.view} tab={tab} />
      ))}
      <button className="button-icon" title={words.newTab} aria-label={words.newTab} onClick={() => (open(emptyWorkflow()), focusCanvas())}>
        <Icon path="M10 4v12M4 10h12" />
      </button>
    </nav>
  );
}

function OneTab({ tab }: { tab: Tab }) {
  const words = useStrings().shell;
  const { active, activate, close } = useWorkspace();
  const name = useStore(tab.document, ({ source, workflow }) => source?.name || workflow.name) || words.untitled;
  const changed = useStore(tab.document, ({ saved, workflow }) => saved !== workflow && !isBlank(workflow));
  return (
    <div className="tab" data-active={tab.id === active}>
      <button aria-current={tab.id === active} onClick={() => activate(tab.id)}>
        {name}
        {changed && <span className="tab-dot" title={words.unsaved} />}
      </button>
      <button className="button-icon" aria-label={words.closeTab(name)} onClick={() => close(tab.id)}>
        <Icon path="M6 6l8 8M14 6l-8 8" size={14} />
      </button>
    </div>
  );
}
