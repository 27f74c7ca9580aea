import { ACTIONS } from "../canvas/actions";
import { shownKeys } from "../widgets/keys";
import { useHistory } from "../store/document";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import favicon from "../theme/favicon.svg";
import { Icon } from "../theme/Icon";
import { RunControls } from "./RunControls";
import { Tabs } from "./Tabs";

const keysOf = (id: string) => shownKeys(ACTIONS.find((action) => action.id === id)?.keys[0] ?? "");

export function TopBar() {
  const words = useStrings().shell;
  const past = useHistory((state) => state.pastStates.length);
  const future = useHistory((state) => state.futureStates.length);
  const { undo, redo } = useHistory((state) => state);
  const ask = useWorkspace((state) => state.ask);
  return (
    <header className="top-bar">
      <h1 className="brand">
        <img src={favicon} alt="" width={22} height={22} />
        <span>{words.product}</span>
      </h1>
      <Tabs />
      <div className="tools">
        <Tool label={words.undo} keys={keysOf("undo")} off={!past} icon="M7 5 3 9l4 4M3 9h9a4 4 0 0 1 0 8h-3" act={() => undo()} />
        <Tool label={words.redo} keys={keysOf("redo")} off={!future} icon="M13 5l4 4-4 4M17 9H8a4 4 0 0 0 0 8h3" act={() => redo()} />
        <Tool label={words.help} keys="?" icon="M7.5 7.5a2.5 2.5 0 1 1 3.6 2.2c-.8.5-1.1.9-1.1 1.8M10 14.4v.1M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15Z" act={() => ask("help")} />
        <Tool label={words.preferences} icon="M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4" act={() => ask("preferences")} />
      </div>
      <RunControls />
    </header>
  );
}

function Tool({ label, keys, off, icon, act }: { label: string; keys?: string; off?: boolean; icon: string; act(): void }) {
  return (
    <button className="button-icon" disabled={off} title={keys ? `${label} (${keys})` : label} aria-label={label} onClick={act}>
      <Icon path={icon} />
    </button>
  );
}
