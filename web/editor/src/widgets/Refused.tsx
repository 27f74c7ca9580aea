import { useStrings } from "../strings";
import type { Figure, Refusal } from "./number";

interface Props {
  id: string;
  refusal: Refusal;
  held: string;
  onTake(figure: Figure): void;
}

/** Why a typed number is not taken, and what would be. */
export function Refused({ id, refusal: { reason, bound, nearest }, held, onTake }: Props) {
  const words = useStrings().widgets;
  const told = words[reason];
  return (
    <div className="widget-refusal" id={id} role="alert">
      <span>
        {typeof told === "string" ? told : told(bound ?? "")}
        {held !== "" && <> · {words.kept(held)}</>}
      </span>
      {nearest.map((figure) => (
        <button key={figure} type="button" className="button widget-take" onClick={() => onTake(figure)}>
          {words.take(String(figure))}
        </button>
      ))}
    </div>
  );
}
