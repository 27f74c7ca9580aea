import { toClipboard } from "../canvas/actions";
import { write } from "../document/write";
import { activeTab, useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";

/** What is shown in the place of a part of the editor that failed: the work can be taken along and gone on with. */
export function Broken({ error }: { error: Error }) {
  const words = useStrings().shell;
  const close = useWorkspace((state) => state.close);
  return (
    <div className="broken" role="alert">
      <h2>{words.broken}</h2>
      <p>{words.brokenText}</p>
      <pre tabIndex={0}>{error.message}</pre>
      <div className="toolbar">
        <button className="button button-primary" onClick={() => location.reload()}>
          {words.reload}
        </button>
        <button className="button" onClick={() => toClipboard(write(activeTab().document.getState().workflow))}>
          {words.copyWorkflow}
        </button>
        <button className="button" onClick={() => close(activeTab().id)}>
          {words.closeThis}
        </button>
      </div>
    </div>
  );
}
