import type { OutputFile } from "../api/client";
import { contentUrl } from "../api/client";
import { useDocument } from "../store/document";
import { fileName } from "../store/making";
import type { Order } from "../store/running";
import { cancelShown, resultsOf, runTab, useIsRunning, useShownFiles, useShownRun } from "../store/running";
import { progressOf } from "../store/runs";
import { useActive } from "../store/workspace";
import { useStrings } from "../strings";

/** Run and cancel; `order`: what the job is ordered with, `ran`: after it is queued. */
export function FormRun({ order, ran }: { order?: Order; ran?(): void }) {
  const words = useStrings().panels.named;
  const tab = useActive();
  const busy = useIsRunning();
  const ordering = useDocument((state) => state.ordering);
  return (
    <div className="form-run">
      <button className="button-primary" disabled={ordering} aria-busy={ordering} onClick={() => void runTab(tab, 1, order).then(ran)}>
        {words.run}
      </button>
      {busy && (
        <button className="button" onClick={() => void cancelShown(tab)}>
          {words.cancel}
        </button>
      )}
    </div>
  );
}

/** How far the shown run is, its preview, and what it has saved. */
export function FormResult() {
  const words = useStrings().panels.named;
  const busy = useIsRunning();
  const part = useShownRun((shown) => (shown ? progressOf(shown) : 0));
  const preview = useShownRun((shown) => Object.values(shown?.nodes ?? {}).findLast((node) => node.preview)?.preview);
  const failed = useShownRun((shown) => Object.values(shown?.nodes ?? {}).find((node) => node.problem)?.problem?.message);
  const files = resultsOf(useShownFiles());
  const named = new Set(files.map(nameOf)).size > 1;
  return (
    <section className="form-result" aria-label={words.result}>
      {busy && (
        <div
          className="bar"
          role="progressbar"
          aria-label={words.progress}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(part * 100)}
        >
          <div style={{ width: `${part * 100}%` }} />
        </div>
      )}
      {failed && <p className="job-problem">{failed}</p>}
      {busy && preview && files.length === 0 && <img src={preview} alt={words.result} />}
      {files.map((file) => (
        <ResultFile key={file.id} file={file} named={named} />
      ))}
      {!busy && !failed && files.length === 0 && <p className="quiet">{words.noResult}</p>}
    </section>
  );
}

const nameOf = ({ outputs }: OutputFile) => outputs?.join(", ") ?? "";

function ResultFile({ file, named }: { file: OutputFile; named: boolean }) {
  const words = useStrings().panels.named;
  const { sha256, media, texts } = file;
  return (
    <figure>
      <a href={contentUrl(sha256)} target="_blank" rel="noreferrer">
        {media.startsWith("image/") ? <img src={contentUrl(sha256)} alt={texts.split("\n")[0] || words.result} /> : fileName(file)}
      </a>
      {named && <figcaption className="quiet">{nameOf(file)}</figcaption>}
    </figure>
  );
}
