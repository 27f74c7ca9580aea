import { useState } from "react";
import type { OutputFile } from "../api/client";
import { contentUrl } from "../api/client";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useModal } from "../widgets/useModal";
import { ICONS } from "./icons";

type Row = readonly [name: string, left: string, right: string];

interface Props {
  left: OutputFile;
  right: OutputFile;
  /** What else differs. */
  rows?: readonly Row[];
  close(): void;
}

/** Two pictures over each other, with a slider between them, and what differs in their making. */
export function Compare({ left, right, rows = [], close }: Props) {
  const words = useStrings().panels.gallery;
  const [part, setPart] = useState(50);
  const [dialog, keys] = useModal(close);
  const style = { "--part": `${part}%`, aspectRatio: `${left.width ?? 1} / ${left.height ?? 1}` } as React.CSSProperties;
  return (
    <dialog ref={dialog} className="dialog compare" aria-label={words.compare} {...keys}>
      <header>
        <h2>{words.compare}</h2>
        <button className="button-icon" aria-label={words.close} onClick={close}>
          <Icon path={ICONS.close} />
        </button>
      </header>
      <div className="compare-stage" style={style}>
        <img src={contentUrl(right.sha256)} alt={words.right} draggable={false} />
        <img className="compare-left" src={contentUrl(left.sha256)} alt={words.left} draggable={false} />
        <span className="compare-line" aria-hidden="true" />
        <input
          type="range"
          min={0}
          max={100}
          step={1}
          value={part}
          aria-label={words.slider}
          onChange={(event) => setPart(Number(event.target.value))}
        />
      </div>
      <DifferencesOf left={left} right={right} more={rows} />
    </dialog>
  );
}

function DifferencesOf({ left, right, more }: { left: OutputFile; right: OutputFile; more: readonly Row[] }) {
  const words = useStrings().panels.gallery;
  const facts = differing(left, right).map(([fact, one, other]): Row => [words[fact], one, other]);
  const isTold = (row: Row) => facts.some(([, one, other]) => one === row[1] && other === row[2]);
  const rows = [...more.filter((row) => !isTold(row)), ...facts];
  if (rows.length === 0) return <p className="quiet">{words.same}</p>;
  return (
    <table className="compare-facts">
      <thead>
        <tr>
          <td />
          <th scope="col">{words.left}</th>
          <th scope="col">{words.right}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, one, other]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{one}</td>
            <td>{other}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

type Fact = "prompt" | "seed" | "models" | "size" | "workflow";

/** What is not the same in the making of two pictures. */
export function differing(left: OutputFile, right: OutputFile): [Fact, string, string][] {
  const facts = (output: OutputFile): Record<Fact, string> => ({
    prompt: output.texts,
    seed: output.seed ?? "",
    models: output.models.join(", "),
    size: output.width ? `${output.width} × ${output.height}` : "",
    workflow: output.workflow,
  });
  const [one, other] = [facts(left), facts(right)];
  return (Object.keys(one) as Fact[]).flatMap((name) =>
    one[name] === other[name] ? [] : [[name, one[name], other[name]] as [Fact, string, string]],
  );
}
