import { useEffect, useState } from "react";
import type { OutputFile } from "../api/client";
import { BASE, thumbnailUrl } from "../api/client";
import type { Cell, Grid } from "../document/grid";
import { arranged, labelOf } from "../document/grid";
import { textOf } from "../document/sweep";
import type { Batch } from "../store/sweeps";
import { cancelBatch, followBatch, retryBatch, useSweeps } from "../store/sweeps";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useModal } from "../widgets/useModal";
import { Compare } from "./Compare";
import { SweepCell } from "./SweepCell";
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
  const runs = batch?.state === "running";
  useEffect(() => followBatch(id), [id, runs]);
  const mark = (place: number) =>
    setMarked(marked.includes(place) ? marked.filter((one) => one !== place) : [...marked.slice(-1), place]);
  const pair = marked.flatMap((place) => cells.find((cell) => cell.place === place) ?? []);
  if (!batch) return null;
  const grid = cells.length > 0 && <SweepGrid cells={cells} marked={marked} mark={mark} look={setLooked} />;
  const tools = pair.length > 0 && (
    <div className="banner marked">
      <span>{pair.length < 2 ? words.gallery.compareHint : words.gallery.marked(pair.length)}</span>
      <button className="button" onClick={() => setMarked([])}>
        {words.gallery.unmark}
      </button>
      <button className="button button-primary" disabled={pair.length < 2} onClick={() => setComparing(true)}>
        {words.gallery.compare}
      </button>
    </div>
  );
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

/** The picture that stands for a cell. */
export const pictureOf = ({ files }: Cell): OutputFile | undefined => files.find(({ media }) => media.startsWith("image/"));

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

interface GridProps {
  cells: readonly Cell[];
  marked: readonly number[];
  mark(place: number): void;
  look(place: number): void;
}

function SweepGrid({ cells, marked, mark, look }: GridProps) {
  const words = useStrings().panels.sweep;
  const [wanted, setPage] = useState(0);
  const grid = arranged(cells);
  const [across, down, pages] = grid.labels;
  const page = Math.min(wanted, pages.length - 1);
  const cellAt = (x: number, y: number) => {
    const cell = grid.at(x, y, page);
    return cell && <CellView cell={cell} marked={marked.includes(cell.place)} mark={mark} look={look} />;
  };
  return (
    <>
      {grid.names[2] && <Pages name={grid.names[2]} labels={pages} page={page} choose={setPage} />}
      <div className="sweep-scroll" role="region" tabIndex={0} aria-label={words.grid}>
        <table className="sweep-grid">
          {grid.names[0] && <Head grid={grid} />}
          <tbody>
            {down.map((label, y) => (
              <tr key={y}>
                {label && <th scope="row">{grid.names[1] ? `${grid.names[1]} ${label}` : label}</th>}
                {across.map((_, x) => (
                  <td key={x}>{cellAt(x, y)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Head({ grid: { names, labels } }: { grid: Grid }) {
  return (
    <thead>
      <tr>
        {names[1] && <td />}
        {labels[0].map((label) => (
          <th key={label} scope="col">
            {names[0]} {label}
          </th>
        ))}
      </tr>
    </thead>
  );
}

interface PagesProps {
  name: string;
  labels: readonly string[];
  page: number;
  choose(page: number): void;
}

function Pages({ name, labels, page, choose }: PagesProps) {
  const words = useStrings().panels.gallery;
  const arrow = (icon: string, label: string, to: number) => (
    <button className="button-icon" aria-label={label} disabled={!(to in labels)} onClick={() => choose(to)}>
      <Icon path={icon} size={16} />
    </button>
  );
  return (
    <div className="toolbar sweep-pages">
      {arrow(ICONS.left, words.previous, page - 1)}
      <select className="field" aria-label={name} value={page} onChange={(event) => choose(Number(event.target.value))}>
        {labels.map((label, n) => (
          <option key={label} value={n}>
            {name} {label}
          </option>
        ))}
      </select>
      {arrow(ICONS.right, words.next, page + 1)}
    </div>
  );
}

interface CellProps {
  cell: Cell;
  marked: boolean;
  mark(place: number): void;
  look(place: number): void;
}

function CellView({ cell, marked, mark, look }: CellProps) {
  const words = useStrings().panels;
  const picture = pictureOf(cell);
  const label = [labelOf(cell), cell.error?.message].filter(Boolean).join(": ");
  return (
    <div className="thumbnail sweep-cell" data-state={cell.state} data-marked={marked || undefined}>
      <button className="thumbnail-picture" aria-label={label} title={label} onClick={() => look(cell.place)}>
        {picture ? (
          <img src={thumbnailUrl(picture.sha256)} alt="" loading="lazy" draggable={false} />
        ) : (
          <span>
            <strong>{words.sweep.states[cell.state]}</strong>
            {cell.error && ` ${cell.error.message}`}
          </span>
        )}
      </button>
      {picture && (
        <input
          type="checkbox"
          className="thumbnail-mark"
          aria-label={`${words.gallery.mark}: ${label}`}
          title={words.gallery.mark}
          checked={marked}
          onChange={() => mark(cell.place)}
        />
      )}
    </div>
  );
}
