import { reveal } from "../canvas/reveal";
import type { Problem } from "../api/client";
import { useDocument } from "../store/document";
import { useStrings } from "../strings";

/** Everything that is wrong with the open workflow; a click goes to the node. */
export function ProblemsPanel() {
  const words = useStrings().panels.checks;
  const problems = useDocument((state) => state.checked.problems);
  if (problems.length === 0) return <p className="quiet">{words.none}</p>;
  return (
    <ul className="list problems">
      {problems.map((problem, n) => (
        <li key={n}>
          <OneProblem problem={problem} />
        </li>
      ))}
    </ul>
  );
}

function OneProblem({ problem }: { problem: Problem }) {
  const words = useStrings().panels.checks;
  const { node, input, message, expected, got, nearest, hint } = problem;
  const [outer, ...inner] = node?.split("/") ?? [];
  const title = useDocument((state) =>
    outer ? [state.workflow.nodes[outer]?.title ?? outer, ...inner].join(" / ") : words.workflow,
  );
  const here = useDocument((state) => outer !== undefined && outer in state.workflow.nodes);
  const text = (
    <>
      <span className="problem-where">
        {title}
        {input && <span className="quiet"> · {input}</span>}
      </span>
      <span className="problem-message">{message}</span>
      {(expected || got) && (
        <span className="quiet">{[expected && words.expected(expected), got && words.got(got)].filter(Boolean).join(", ")}</span>
      )}
      {nearest && <span>{words.nearest(nearest)}</span>}
      {hint && <span className="quiet">{hint}</span>}
    </>
  );
  if (!here || !outer) return <div className="problem">{text}</div>;
  return (
    <button className="problem" onClick={() => reveal([outer, ...inner].join("/"), input)}>
      {text}
    </button>
  );
}
