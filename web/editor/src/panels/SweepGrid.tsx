import type { OutputFile } from "../api/client";
import { thumbnailUrl } from "../api/client";
import type { Cell, Grid } from "../document/grid";
import { arranged, labelOf } from "../document/grid";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { ICONS } from "./icons";

/** The picture that stands for a cell. */
export const pictureOf = ({ files }: Cell): OutputFile | undefined => files.find(({ media }) => media.startsWith("image/"));

interface GridProps {
  cells: readonly Cell[];
  page: number;
  turn(page: number): void;
  marked: readonly number[];
  mark(place: number): void;
  look(place: number): void;
}

/** The cells of a batch with the labels of their axes, one page at a time. */
export function SweepGrid({ cells, page, turn, marked, mark, look }: GridProps) {
  const words = useStrings().panels.sweep;
  const grid = arranged(cells);
  const [across, down, pages] = grid.labels;
  const cellAt = (x: number, y: number) => {
    const cell = grid.at(x, y, page);
    return cell && <CellView cell={cell} marked={marked.includes(cell.place)} mark={mark} look={look} />;
  };
  return (
    <>
      {grid.names[2] && <Pages name={grid.names[2]} labels={pages} page={page} choose={turn} />}
      <div className="sweep-scroll" role="region" tabIndex={0} aria-label={words.grid}>
        <table className="sweep-grid">
          {grid.names[0] && <Head grid={grid} />}
          <tbody>
            {down.map((label, y) => (
              <tr key={y}>
                {label && <Label scope="row" text={`${grid.names[1]} ${label}`.trim()} />}
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
          <Label key={label} scope="col" text={`${names[0]} ${label}`} />
        ))}
      </tr>
    </thead>
  );
}

/** Of a long text, such as a prompt, the beginning is shown. */
function Label({ scope, text }: { scope: "row" | "col"; text: string }) {
  return (
    <th scope={scope} title={text}>
      <span>{text}</span>
    </th>
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
    <div className="thumbnail sweep-cell" data-state={cell.state} data-selected={marked || undefined}>
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
        <label className="thumbnail-mark">
          <input
            type="checkbox"
            aria-label={`${words.gallery.select}: ${label}`}
            title={words.gallery.select}
            checked={marked}
            onChange={() => mark(cell.place)}
          />
        </label>
      )}
    </div>
  );
}
