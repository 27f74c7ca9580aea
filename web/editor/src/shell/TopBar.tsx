import { useHistory } from "../store/document";
import { runActive } from "../store/running";
import { useStrings } from "../strings";
import { Icon } from "./Icon";
import { Tabs } from "./Tabs";

export function TopBar() {
  const words = useStrings().shell;
  const past = useHistory((state) => state.pastStates.length);
  const future = useHistory((state) => state.futureStates.length);
  const { undo, redo } = useHistory((state) => state);
  return (
    <header className="top-bar">
      <span className="brand">{words.product}</span>
      <Tabs />
      <div className="tools">
        <button className="button-icon" disabled={!past} title={words.undo} aria-label={words.undo} onClick={() => undo()}>
          <Icon path="M7 5 3 9l4 4M3 9h9a5 5 0 0 1 0 8h-2" />
        </button>
        <button className="button-icon" disabled={!future} title={words.redo} aria-label={words.redo} onClick={() => redo()}>
          <Icon path="M13 5l4 4-4 4M17 9H8a5 5 0 0 0 0 8h2" />
        </button>
        <button className="button-primary" onClick={() => void runActive()}>
          {words.run}
        </button>
      </div>
    </header>
  );
}
