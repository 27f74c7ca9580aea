import { useEffect, useState } from "react";
import type { Notice } from "../store/workspace";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";

/** What the editor has to say: a short information for a while, everything else until it is dismissed. */
export function Notices() {
  const notices = useWorkspace((state) => state.notices);
  return (
    <div className="notices" role="log" aria-live="polite">
      {notices.map((notice) => (
        <OneNotice key={notice.id} notice={notice} />
      ))}
    </div>
  );
}

const SHOWN_MS = 6000;

function OneNotice({ notice: { id, kind, text, detail } }: { notice: Notice }) {
  const words = useStrings().shell;
  const dismiss = useWorkspace((state) => state.dismiss);
  const [held, hold] = useState(false);
  const passing = kind === "info" && !detail && !held;
  useEffect(() => {
    if (!passing) return;
    const timer = setTimeout(() => dismiss(id), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [passing, dismiss, id]);
  return (
    <div
      className="notice"
      data-kind={kind}
      role={kind === "error" ? "alert" : undefined}
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
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
  );
}
