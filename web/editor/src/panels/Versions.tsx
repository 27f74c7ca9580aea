import { useEffect, useState } from "react";
import type { Schemas } from "../api/client";
import { told } from "../api/client";
import type { Differences } from "../document/differences";
import { differences } from "../document/differences";
import { lookAt, restoreVersion, versionOf, versionsOf } from "../store/library";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";

/** The kept versions of a workflow; one that is opened tells what differs from the newest. */
export function Versions({ name, newest }: { name: string; newest: number }) {
  const words = useStrings().panels.library;
  const [versions, setVersions] = useState<readonly Schemas["WorkflowInfo"][]>([]);
  useEffect(() => void versionsOf(name).then(setVersions, tell), [name]);
  return (
    <ul className="list versions" aria-label={words.versions}>
      {versions.map(({ version, saved }) => (
        <li key={version}>
          <details>
            <summary>
              {words.version(version)}
              <span className="quiet">{version === newest ? words.newest : new Date((saved ?? 0) * 1000).toLocaleString()}</span>
            </summary>
            {version !== newest && <Against name={name} version={version} newest={newest} />}
            <div className="toolbar">
              <button className="button" onClick={() => void lookAt(name, version)}>
                {words.look}
              </button>
              {version !== newest && (
                <button className="button" onClick={() => void restoreVersion(name, version, newest)}>
                  {words.restore}
                </button>
              )}
            </div>
          </details>
        </li>
      ))}
    </ul>
  );
}

function Against({ name, version, newest }: { name: string; version: number; newest: number }) {
  const words = useStrings().panels.library;
  const [found, setFound] = useState<Differences | null>(null);
  useEffect(() => {
    const both = Promise.all([versionOf(name, newest), versionOf(name, version)]);
    both.then(([now, then]) => setFound(differences(now.workflow, then.workflow)), tell);
  }, [name, version, newest]);
  if (!found) return null;
  const { added, removed, changed, rest } = found;
  const parts = [
    added.length && words.differences.added(added.join(", ")),
    removed.length && words.differences.removed(removed.join(", ")),
    changed.length && words.differences.changed(changed.join(", ")),
    rest && words.differences.rest,
  ].filter(Boolean);
  return (
    <p className="quiet">
      {words.compared} {parts.join("; ") || words.sameAs}
    </p>
  );
}

const tell = (error: unknown) => useWorkspace.getState().notify("error", told(error));
