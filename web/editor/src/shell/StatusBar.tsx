import { useDocument } from "../store/document";
import { useRuns } from "../store/runs";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";

export function StatusBar() {
  const words = useStrings().shell;
  const connected = useRuns((state) => state.connected);
  const nodes = useDocument((state) => Object.keys(state.workflow.nodes).length);
  const problems = useDocument((state) => state.checked.problems.length);
  const show = useWorkspace((state) => state.show);
  return (
    <footer className="status-bar" aria-label={words.status}>
      <span role="status" data-connected={connected}>
        {connected === null ? words.connecting : connected ? words.connected : words.disconnected}
      </span>
      <span>{words.nodes(nodes)}</span>
      <button className="button-plain" onClick={() => show("right", "problems")}>
        {problems ? words.problems(problems) : words.noProblems}
      </button>
    </footer>
  );
}
