import { Panel } from "@xyflow/react";
import { graphOf, specOf } from "../document/graphs";
import { addToForm, freeInputs } from "../document/interface";
import type { Path } from "../document/levels";
import { graphsAlong, levelAt, usesOf } from "../document/levels";
import type { Workflow } from "../document/types";
import { nodeName } from "../document/names";
import { useDocument } from "../store/document";
import { pathOf } from "../store/opened";
import { useSpecs } from "../store/specs";
import { strings, useStrings } from "../strings";
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
  return node.title ?? (graphOf(workflow, node.type)?.name || nodeName(strings(), node));
}

/** A choice of the selected node's inputs that can become inputs of the open sub-workflow; their values become the defaults. */
function Adding({ level }: { level: Workflow }) {
  const words = useStrings().canvas.trail;
  const specs = useSpecs();
  const id = useDocument(({ selection }) => (selection.size === 1 ? [...selection][0] : undefined)) ?? "";
  const edit = useDocument((state) => state.editInside);
  const ports = freeInputs(level, id, specOf(specs, level.nodes[id]));
  if (ports.length === 0) return null;
  return (
    <select className="field" aria-label={words.add} value="" onChange={({ target }) => edit(addToForm({ node: id, input: target.value }))}>
      <option value="">{words.add}</option>
      {ports.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
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
        <Adding level={levelAt(workflow, path)} />
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
