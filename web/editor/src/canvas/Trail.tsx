import { Panel } from "@xyflow/react";
import { graphOf } from "../document/graphs";
import type { Path } from "../document/levels";
import { graphsAlong, levelAt, usesOf } from "../document/levels";
import type { Workflow } from "../document/types";
import { nameOf } from "../document/types";
import { useDocument } from "../store/document";
import { pathOf } from "../store/opened";
import { useStrings } from "../strings";
import { goTo } from "./actions";
import { reveal } from "./reveal";

/** The way from the document to the open sub-workflow, and what leads into and out of that; nothing at the document itself. */
export function Trail() {
  const words = useStrings().canvas.trail;
  const untitled = useStrings().shell.untitled;
  const workflow = useDocument((state) => state.workflow);
  const inside = useDocument((state) => state.inside);
  const path = pathOf({ inside });
  const name = graphsAlong(workflow, path).at(-1);
  if (name === undefined) return null;
  const uses = usesOf(workflow, name);
  return (
    <Panel position="top-left" className="trail">
      <nav aria-label={words.label}>
        <ol>
          {[workflow.name || untitled, ...path.map((_, n) => titleAt(workflow, path.slice(0, n + 1)))].map((title, depth) => (
            <li key={depth}>
              {depth < path.length ? (
                <button className="button-plain" onClick={() => goTo(path.slice(0, depth))}>
                  {title}
                </button>
              ) : (
                <span aria-current="page">{title}</span>
              )}
            </li>
          ))}
        </ol>
      </nav>
      {uses > 1 && <p className="quiet">{words.uses(uses)}</p>}
      <Ends workflow={workflow} path={path} />
    </Panel>
  );
}

/** What a step is called: by the node's title, else by the sub-workflow's name. */
function titleAt(workflow: Workflow, path: Path): string {
  const node = levelAt(workflow, path.slice(0, -1)).nodes[path.at(-1) ?? ""];
  if (!node) return "";
  return node.title ?? (graphOf(workflow, node.type)?.name || nameOf(node));
}

/** The inputs and outputs of the open sub-workflow; a click goes to the node that has them. */
function Ends({ workflow, path }: { workflow: Workflow; path: Path }) {
  const words = useStrings().canvas.trail;
  const { inputs, outputs } = levelAt(workflow, path);
  const go = (node: string, input?: string) => reveal([...path, node].join("/"), input);
  return (
    <dl>
      <dt>{words.inputs}</dt>
      <dd>
        {inputs.length === 0 && "—"}
        {inputs.map(({ name, to }) => (
          <button
            key={name}
            className="button-plain"
            title={to.map(({ node, input }) => `${node}.${input}`).join(", ")}
            onClick={() => to[0] && go(to[0].node, to[0].input)}
          >
            {name}
          </button>
        ))}
      </dd>
      <dt>{words.outputs}</dt>
      <dd>
        {outputs.length === 0 && "—"}
        {outputs.map(({ name, from }) => (
          <button key={name} className="button-plain" title={`${from.node}.${from.output}`} onClick={() => go(from.node)}>
            {name}
          </button>
        ))}
      </dd>
    </dl>
  );
}
