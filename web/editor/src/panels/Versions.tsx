import { useEffect, useState } from "react";
import type { Schemas } from "../api/client";
import { told } from "../api/client";
import { differenceFrom, lookAt, restoreVersion, versionsOf } from "../store/library";
import { useSettings } from "../settings/settings";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { linesOf } from "./differences";

/** The kept versions of a workflow; one that is opened tells what differs from the newest. */
export function Versions({ name, newest }: { name: string; newest: number }) {
  const words = useStrings().panels.library;
  const language = useSettings((state) => state.language);
  const [versions, setVersions] = useState<readonly Schemas["WorkflowInfo"][]>([]);
  useEffect(() => void versionsOf(name).then(setVersions, tell), [name]);
  return (
    <ul className="list versions" aria-label={words.versions}>
      {versions.map(({ version, saved }) => (
        <li key={version}>
          <details>
            <summary>
              {words.version(version)}
              <span className="quiet">{version === newest ? words.newest : new Date((saved ?? 0) * 1000).toLocaleString(language)}</span>
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

/** What distinguishes a version from the newest. */
export function Against({ name, version, newest }: { name: string; version: number; newest: number }) {
  const words = useStrings().panels.library;
  const [found, setFound] = useState<Schemas["Difference"] | null>(null);
  useEffect(() => void differenceFrom(name, newest, version).then(setFound, tell), [name, version, newest]);
  if (!found) return null;
  const lines = linesOf(found, words.differences);
  return (
    <>
      <p className="quiet">
        {words.compared} {lines.length === 0 && words.sameAs}
      </p>
      <ul className="quiet differences">
        {lines.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </>
  );
}

const tell = (error: unknown) => useWorkspace.getState().notify("error", told(error));
