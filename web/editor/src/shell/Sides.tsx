import { PANELS } from "../panels/registry";
import { useDocument } from "../store/document";
import type { Side } from "../store/workspace";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { Boundary } from "../widgets/Boundary";
import { Broken } from "./Broken";

/** The buttons of a side's panels. */
export function Rail({ side }: { side: Side }) {
  const words = useStrings();
  const open = useWorkspace((state) => state.panels[side]);
  const show = useWorkspace((state) => state.show);
  return (
    <nav className={`rail rail-${side}`} aria-label={words.panels.sides[side]}>
      {PANELS.filter((panel) => panel.side === side).map((panel) => (
        <button
          key={panel.id}
          className="button-icon"
          aria-pressed={open === panel.id}
          title={words.panels.titles[panel.id]}
          aria-label={words.panels.titles[panel.id]}
          onClick={() => show(side, open === panel.id ? null : panel.id)}
        >
          <Icon path={panel.icon} />
        </button>
      ))}
    </nav>
  );
}

/** The open panel of a side. */
export function PanelRegion({ side }: { side: Side }) {
  const words = useStrings();
  const open = useWorkspace((state) => state.panels[side]);
  const show = useWorkspace((state) => state.show);
  const workflow = useDocument((state) => state.workflow);
  const panel = PANELS.find((panel) => panel.id === open);
  if (!panel) return null;
  const Content = panel.component;
  return (
    <aside className={`panel panel-${side}`} aria-label={words.panels.titles[panel.id]}>
      <header className="panel-head">
        <h2>{words.panels.titles[panel.id]}</h2>
        <button className="button-icon" aria-label={words.shell.close} onClick={() => show(side, null)}>
          <Icon path="M5 5l10 10M15 5 5 15" />
        </button>
      </header>
      <div className="panel-body">
        <Boundary key={panel.id} of={workflow} instead={(error) => <Broken error={error} />}>
          <Content />
        </Boundary>
      </div>
    </aside>
  );
}
