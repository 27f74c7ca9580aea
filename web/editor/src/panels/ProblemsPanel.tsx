import { useDocument } from "../store/document";
import { useStrings } from "../strings";

/** Everything that is wrong with the open workflow. */
export function ProblemsPanel() {
  const words = useStrings().shell;
  const problems = useDocument((state) => state.checked.problems);
  if (problems.length === 0) return <p className="quiet">{words.noProblems}</p>;
  return (
    <ul className="list">
      {problems.map((problem, n) => (
        <li key={n}>{problem.message}</li>
      ))}
    </ul>
  );
}
