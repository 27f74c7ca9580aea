import { reveal } from "../canvas/reveal";
import type { Problem } from "../api/client";
import { useDocument } from "../store/document";
import { nodeName } from "../document/names";
import { useSpecs } from "../store/specs";
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
  const strings = useStrings();
  const words = strings.panels.checks;
  const specs = useSpecs();
  const { code, node, input, message, expected, got, nearest, hint } = problem;
  const [outer, ...inner] = node?.split("/") ?? [];
  const holder = useDocument((state) => state.workflow.nodes[outer ?? ""]);
  const shown = holder ? nodeName(strings, holder, specs.get(holder.type)) : outer;
  const title = shown ? [shown, ...inner].join(" / ") : words.workflow;
  const here = useDocument((state) => outer !== undefined && outer in state.workflow.nodes);
  const text = (
    <>
      <span className="problem-where">
        {title}
        {input && <span className="quiet"> · {input}</span>}
      </span>
      <span className="problem-message" title={message}>
        {strings.problems[code] ?? message}
      </span>
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
