import type { Ref } from "react";
import { useRef, useState } from "react";
import type { Cell } from "../document/grid";
import { labelOf } from "../document/grid";
import { textOf } from "../document/sweep";
import { fileName, openJob, savePicture } from "../store/making";
import { takeValues } from "../store/sweeps";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useModal } from "../widgets/useModal";
import { Arrow, Shown } from "./Lightbox";
import { ICONS } from "./icons";
import { fullText } from "./QueueJob";
import type { Zooming } from "./ZoomedPicture";

/** One cell as large as the window allows, with its values; the arrow keys go to its neighbours. */
export function SweepCell({ cells, start, close }: { cells: readonly Cell[]; start: number; close(): void }) {
  const words = useStrings().panels;
  const [place, setPlace] = useState(start);
  const [dialog, keys] = useModal(close);
  const zooming = useRef<Zooming>(null);
  const at = cells.findIndex((cell) => cell.place === place);
  const cell = cells[at];
  if (!cell) return null;
  const go = (by: number) => {
    const there = cells[at + by];
    if (there) setPlace(there.place);
  };
  return (
    <dialog
      ref={dialog}
      className="dialog lightbox"
      aria-label={labelOf(cell)}
      onCancel={keys.onCancel}
      onKeyDown={(event) => {
        keys.onKeyDown(event);
        if (!event.ctrlKey && !event.metaKey && !event.altKey && zooming.current?.press(event.key, event.shiftKey)) return;
        if (event.key === "ArrowLeft") go(-1);
        if (event.key === "ArrowRight") go(1);
      }}
    >
      <div className="lightbox-stage">
        <Stage key={cell.place} cell={cell} zooming={zooming} />
        <Arrow side="left" label={words.gallery.previous} disabled={at === 0} onClick={() => go(-1)} />
        <Arrow side="right" label={words.gallery.next} disabled={at === cells.length - 1} onClick={() => go(1)} />
      </div>
      <aside className="lightbox-side">
        <header>
          <span className="quiet">{words.gallery.position(at + 1, String(cells.length))}</span>
          <button className="button-icon" aria-label={words.gallery.close} onClick={close}>
            <Icon path={ICONS.close} />
          </button>
        </header>
        <Facts cell={cell} />
        <Actions cell={cell} close={close} />
      </aside>
    </dialog>
  );
}

/** What a cell saved, or why it saved nothing. */
function Stage({ cell, zooming }: { cell: Cell; zooming: Ref<Zooming> }) {
  const words = useStrings().panels.sweep;
  const [nth, setNth] = useState(0);
  const file = cell.files[nth];
  if (cell.error) return <pre className="job-problem">{fullText(cell.error)}</pre>;
  if (!file) return <p>{cell.state === "done" ? words.noFiles : words.states[cell.state]}</p>;
  return (
    <>
      <Shown key={file.id} output={file} zooming={zooming} />
      {cell.files.length > 1 && (
        <select className="field" aria-label={words.file} value={nth} onChange={(event) => setNth(Number(event.target.value))}>
          {cell.files.map((file, n) => (
            <option key={file.id} value={n}>
              {fileName(file)}
            </option>
          ))}
        </select>
      )}
    </>
  );
}

function Facts({ cell: { inputs, seed, seconds, files } }: { cell: Cell }) {
  const words = useStrings().panels;
  const rows: [string, string][] = [
    ...Object.entries(inputs).map(([name, value]): [string, string] => [name, textOf(value)]),
    [words.gallery.seed, "seed" in inputs ? "" : (seed ?? "")],
    [words.gallery.seconds, seconds === null ? "" : words.jobs.took(seconds)],
    [words.gallery.file, files.map(({ path }) => path).join("\n")],
  ];
  return (
    <dl className="facts">
      {rows.map(([name, text], n) =>
        text === "" ? null : (
          <div key={n}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ),
      )}
    </dl>
  );
}

function Actions({ cell, close }: { cell: Cell; close(): void }) {
  const words = useStrings().panels;
  const { job } = cell;
  const picture = cell.files[0];
  return (
    <div className="lightbox-actions">
      <button className="button button-primary" onClick={() => (takeValues(cell), close())}>
        {words.sweep.take}
      </button>
      {job !== null && (
        <button className="button" onClick={() => void openJob(job).then(close)}>
          {words.gallery.open}
        </button>
      )}
      {picture && (
        <button className="button" onClick={() => savePicture(picture)}>
          {words.gallery.savePicture}
        </button>
      )}
    </div>
  );
}
