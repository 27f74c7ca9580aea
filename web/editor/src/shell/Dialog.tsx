import type { ReactNode } from "react";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useModal } from "../widgets/useModal";

/** A dialog that is open while the workspace names it. */
export function Dialog({ name, title, children }: { name: string; title: string; children: ReactNode }) {
  const open = useWorkspace((state) => state.dialog === name);
  return open ? <Open title={title}>{children}</Open> : null;
}

function Open({ title, children }: { title: string; children: ReactNode }) {
  const words = useStrings().shell;
  const ask = useWorkspace((state) => state.ask);
  const [dialog, keys] = useModal(() => ask(null));
  return (
    <dialog ref={dialog} className="dialog" aria-label={title} {...keys}>
      <header className="panel-head">
        <h2>{title}</h2>
        <button className="button-icon" aria-label={words.close} onClick={() => ask(null)}>
          <Icon path="M5 5l10 10M15 5 5 15" />
        </button>
      </header>
      <div className="dialog-body">{children}</div>
    </dialog>
  );
}
