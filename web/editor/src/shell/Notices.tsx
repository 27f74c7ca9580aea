import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";

/** What the editor has to say, for a while or until it is dismissed. */
export function Notices() {
  const words = useStrings().shell;
  const { notices, dismiss } = useWorkspace();
  return (
    <div className="notices" role="log" aria-live="polite">
      {notices.map(({ id, kind, text, detail }) => (
        <div key={id} className="notice" data-kind={kind}>
          <div>
            {text}
            {detail && (
              <div className="quiet" tabIndex={0}>
                {detail}
              </div>
            )}
          </div>
          <button className="button-icon" aria-label={words.dismiss} onClick={() => dismiss(id)}>
            <Icon path="M6 6l8 8M14 6l-8 8" size={14} />
          </button>
        </div>
      ))}
    </div>
  );
}
