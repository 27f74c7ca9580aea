import type { Problem } from "../api/client";
import { useStrings } from "../strings";

/** Problems with everything that is known of them. */
export function ProblemList({ problems }: { problems: readonly Partial<Problem>[] }) {
  const words = useStrings().canvas;
  if (problems.length === 0) return null;
  return (
    <ul className="node-problems">
      {problems.map(({ message, expected, got, nearest, hint }, n) => (
        <li key={n}>
          {message}
          {expected && <span className="quiet">{` · ${words.expected} ${expected}`}</span>}
          {got && <span className="quiet">{` · ${words.got} ${got}`}</span>}
          {nearest && <div>{words.didYouMean(nearest)}</div>}
          {hint && <div className="quiet">{hint}</div>}
        </li>
      ))}
    </ul>
  );
}
