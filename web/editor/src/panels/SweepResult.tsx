import { useEffect, useState } from "react";
import { BASE } from "../api/client";
import type { Cell } from "../document/grid";
import { textOf } from "../document/sweep";
import type { Batch } from "../store/sweeps";
import { cancelBatch, followBatch, retryBatch, useSweeps } from "../store/sweeps";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useModal } from "../widgets/useModal";
import { Compare } from "./Compare";
import { SweepCell } from "./SweepCell";
import { pictureOf, SweepGrid } from "./SweepGrid";
import { ICONS } from "./icons";

const NONE: readonly Cell[] = [];

/** A batch: how far it is, what can be done with it, and its grid. */
export function SweepResult({ id }: { id: string }) {
  const words = useStrings().panels;
  const batch = useSweeps((state) => state.batches[id]);
  const cells = useSweeps((state) => state.tables[id]?.cells ?? NONE);
  const [marked, setMarked] = useState<readonly number[]>([]);
  const [looked, setLooked] = useState<number | null>(null);
  const [comparing, setComparing] = useState(false);
  const [large, setLarge] = useState(false);
  const [page, setPage] = useState(0);
  const runs = batch?.state === "running";
  useEffect(() => followBatch(id), [id, runs]);
  const mark = (place: number) =>
    setMarked(marked.includes(place) ? marked.filter((one) => one !== place) : [...marked.slice(-1), place]);
  const pair = marked.flatMap((place) => cells.find((cell) => cell.place === place) ?? []);
  if (!batch) return null;
  const seen = { cells, page, turn: setPage, marked, mark, look: setLooked };
  const grid = cells.length > 0 && <SweepGrid {...seen} />;
  const tools = pair.length > 0 && <Marked count={pair.length} unmark={() => setMarked([])} compare={() => setComparing(true)} />;
  return (
    <section aria-label={words.sweep.result}>
      <Progress batch={batch} enlarge={() => setLarge(true)} />
      {batch.total > cells.length && cells.length > 0 && <p className="banner">{words.sweep.first(cells.length, batch.total)}</p>}
      {large ? (
        <Large close={() => setLarge(false)}>
          {tools}
          {grid}
        </Large>
      ) : (
        <>
          {tools}
          {grid}
        </>
      )}
      {looked !== null && <SweepCell cells={cells} start={looked} close={() => setLooked(null)} />}
      {comparing && <CompareCells pair={pair} close={() => setComparing(false)} />}
    </section>
  );
}

function Marked({ count, unmark, compare }: { count: number; unmark(): void; compare(): void }) {
  const words = useStrings().panels.gallery;
  return (
    <div className="banner selection-bar">
      <span role="status">{count < 2 ? words.compareHint : words.selected(count)}</span>
      <button className="button-link" onClick={unmark}>
        {words.deselect}
      </button>
      <button className="button button-primary" disabled={count < 2} onClick={compare}>
        {words.compare}
      </button>
    </div>
  );
}

function CompareCells({ pair: [one, other], close }: { pair: readonly Cell[]; close(): void }) {
  const [left, right] = [one && pictureOf(one), other && pictureOf(other)];
  if (!one || !other || !left || !right) return null;
  const rows = Object.keys(one.inputs)
    .map((name) => [name, textOf(one.inputs[name]), textOf(other.inputs[name])] as const)
    .filter(([, a, b]) => a !== b);
  return <Compare left={left} right={right} rows={rows} close={close} />;
}

function Progress({ batch: { id, state, total, counts }, enlarge }: { batch: Batch; enlarge(): void }) {
  const words = useStrings().panels;
  const { done = 0, failed = 0, cancelled = 0 } = counts;
  const ended = done + failed + cancelled;
  const file = (path: string) => new URL(`api/v1/batches/${id}/${path}`, BASE).href;
  return (
    <>
      <h3>
        <span role="status">{words.sweep.counts(state === "running", total, done, failed, cancelled)}</span>
      </h3>
      {state === "running" && (
        <div
          className="bar"
          role="progressbar"
          aria-label={words.sweep.progress}
          aria-valuemin={0}
          aria-valuemax={total}
          aria-valuenow={ended}
        >
          <div style={{ width: `${(100 * ended) / total}%` }} />
        </div>
      )}
      <div className="toolbar sweep-tools">
        {state === "running" && (
          <button className="button" onClick={() => void cancelBatch(id)}>
            {words.cancel}
          </button>
        )}
        {failed + cancelled > 0 && (
          <button className="button" onClick={() => void retryBatch(id)}>
            {words.sweep.retry(failed + cancelled)}
          </button>
        )}
        <button className="button" onClick={enlarge}>
          {words.sweep.enlarge}
        </button>
        <a href={file("table.csv")} download>
          {words.sweep.table}
        </a>
        {done > 0 && (
          <a href={file("sheet")} target="_blank" rel="noreferrer">
            {words.sweep.sheet}
          </a>
        )}
      </div>
    </>
  );
}

/** The grid in a window of its own. */
function Large({ close, children }: { close(): void; children: React.ReactNode }) {
  const words = useStrings().panels;
  const [dialog, keys] = useModal(close);
  return (
    <dialog ref={dialog} className="dialog sweep-large" aria-label={words.sweep.result} {...keys}>
      <header className="panel-head">
        <h2>{words.sweep.result}</h2>
        <button className="button-icon" aria-label={words.gallery.close} onClick={close}>
          <Icon path={ICONS.close} />
        </button>
      </header>
      {children}
    </dialog>
  );
}
