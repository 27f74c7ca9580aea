import { useDocument } from "../store/document";
import { cancelShown, runActive, useIsRunning, useShownRun } from "../store/running";
import { progressOf } from "../store/runs";
import { activeTab, useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";

const MOST = 100;

/** Run, how often, and cancel; with how far the run is. */
export function RunControls() {
  const words = useStrings().shell;
  const running = useIsRunning();
  const live = useDocument((state) => state.live);
  const ordering = useDocument((state) => state.ordering);
  const { times, repeat } = useWorkspace();
  const state = useShownRun((run) => (run ? run.status : null));
  const part = useShownRun((run) => (run ? progressOf(run) : 0));
  return (
    <div className="run-controls">
      {state && (
        <span className="run-state" data-state={state}>
          {words.states[state]}
        </span>
      )}
      {running && (
        <div className="bar run-bar" role="progressbar" aria-label={words.progress} aria-valuenow={Math.round(100 * part)} aria-valuemin={0} aria-valuemax={100}>
          <div style={{ width: `${100 * part}%` }} />
        </div>
      )}
      {running && (
        <button className="button" onClick={() => void cancelShown()}>
          {words.cancel}
        </button>
      )}
      <button
        className="button-icon"
        aria-pressed={live}
        title={words.live}
        aria-label={words.live}
        onClick={() => activeTab().document.getState().set({ live: !live })}
      >
        <Icon path="M11 2 4 11h5l-1 7 8-10h-6Z" />
      </button>
      <div className="run-split">
        <button className="button-primary" disabled={ordering} aria-busy={ordering} onClick={() => void runActive()}>
          <Icon path="M6 4l10 6-10 6Z" size={14} />
          {words.run}
        </button>
        <input
          className="field run-times"
          type="number"
          min={1}
          max={MOST}
          aria-label={words.runs}
          title={words.runs}
          value={times}
          onChange={(event) => repeat(Math.min(MOST, Math.max(1, event.target.valueAsNumber || 1)))}
        />
      </div>
    </div>
  );
}
