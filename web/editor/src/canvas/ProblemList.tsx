import type { Problem } from "../api/client";
import { fixOf } from "../document/fixes";
import { useCatalog } from "../store/catalog";
import { seenNow } from "../store/seen";
import { specsNow } from "../store/specs";
import { useStrings } from "../strings";

interface ProblemListProps {
  problems: readonly Partial<Problem>[];
  /** The node that they are shown on; problems of nodes inside of it say where. */
  outer?: string;
}

/** Problems with everything that is known of them. */
export function ProblemList({ problems, outer }: ProblemListProps) {
  const { canvas: words, problems: texts } = useStrings();
  if (problems.length === 0) return null;
  return (
    <ul className="node-problems">
      {problems.map(({ code, node, input, message, expected, got, nearest, hint }, n) => (
        <li key={n} title={message}>
          {outer && node?.startsWith(`${outer}/`) && <code>{[node.slice(outer.length + 1), input].filter(Boolean).join(" · ")} </code>}
          {texts[code ?? ""] ?? message}
          {expected && <span className="quiet">{` · ${words.expected} ${expected}`}</span>}
          {got && <span className="quiet">{` · ${words.got} ${got}`}</span>}
          {nearest && <Nearest problem={{ code, node, input, nearest }} name={nearest} />}
          {hint && <div className="quiet">{hint}</div>}
        </li>
      ))}
    </ul>
  );
}

/** The nearest name, with a button where it can be put in place. */
function Nearest({ problem, name }: { problem: Partial<Problem>; name: string }) {
  const words = useStrings().canvas;
  const { workflow, edit } = seenNow();
  const fix = fixOf(workflow, specsNow(), useCatalog.getState().choices, problem);
  if (!fix) return <div>{words.didYouMean(name)}</div>;
  return (
    <button className="button-plain nodrag" onClick={() => edit(fix)}>
      {words.use(name)}
    </button>
  );
}
