import { contentUrl, thumbnailUrl } from "../api/client";
import { useSettings } from "../settings/settings";
import { useIsMended, useShownFiles, useShownRun } from "../store/running";
import { nodeRun } from "../store/runs";
import { useRunId } from "../store/seen";
import { useStrings } from "../strings";
import { ProblemList } from "./ProblemList";

const SHOWN = 4;

/** What a node has come to in the shown run: its progress, its picture so far, its files, or what went wrong. */
export function NodeResult({ id, name }: { id: string; name: string }) {
  const words = useStrings().canvas;
  const previews = useSettings((state) => state.previews);
  const runId = useRunId(id);
  const run = useShownRun((run) => nodeRun(run, runId));
  const mended = useIsMended(runId);
  const files = useShownFiles().filter(({ node, media }) => (node === runId || node.startsWith(`${runId}/`)) && media.startsWith("image/"));
  if (!run && files.length === 0) return null;
  return (
    <div className="node-result">
      {run?.status === "running" && run.total ? (
        <div className="node-progress">
          <div className="bar">
            <div style={{ width: `${(100 * (run.step ?? 0)) / run.total}%` }} />
          </div>
          <span>{run.message || words.steps(run.step ?? 0, run.total)}</span>
        </div>
      ) : null}
      {run?.status === "failed" && !mended && <Failure problem={run.problem ?? {}} />}
      {files.length > 0 ? (
        <div className="node-files" data-many={files.length > 1 || undefined}>
          {files.slice(0, SHOWN).map(({ id, sha256, path }) => (
            <a key={id} className="nodrag" href={contentUrl(sha256)} target="_blank" rel="noreferrer">
              <img src={thumbnailUrl(sha256)} alt={path} draggable={false} />
            </a>
          ))}
        </div>
      ) : (
        previews && run?.preview && <img className="node-preview" src={run.preview} alt={words.preview(name)} draggable={false} />
      )}
    </div>
  );
}

function Failure({ problem }: { problem: Record<string, string> }) {
  const words = useStrings().canvas;
  return (
    <div className="node-failure nodrag nowheel">
      <ProblemList problems={[{ ...problem, message: (problem.message ?? words.failed).split("\n")[0] }]} />
      <details>
        <summary>{words.details}</summary>
        <pre tabIndex={0}>{[problem.code, problem.message, problem.hint].filter(Boolean).join("\n")}</pre>
      </details>
    </div>
  );
}
