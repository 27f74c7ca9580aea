import type { Problem } from "../api/client";
import { useStrings } from "../strings";

interface ProblemListProps {
  problems: readonly Partial<Problem>[];
  /** The node that they are shown on; problems of nodes inside of it say where. */
  outer?: string;
}

/** Problems with everything that is known of them. */
export function ProblemList({ problems, outer }: ProblemListProps) {
  const words = useStrings().canvas;
  if (problems.length === 0) return null;
  return (
    <ul className="node-problems">
      {problems.map(({ node, input, message, expected, got, nearest, hint }, n) => (
        <li key={n}>
          {outer && node?.startsWith(`${outer}/`) && <code>{[node.slice(outer.length + 1), input].filter(Boolean).join(" · ")} </code>}
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
