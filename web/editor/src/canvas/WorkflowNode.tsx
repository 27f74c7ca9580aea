import { Handle, Position, useUpdateNodeInternals } from "@xyflow/react";
import type { NodeProps } from "@xyflow/react";
import { memo, useEffect, useRef, useState } from "react";
import { useShallow } from "zustand/react/shallow";
import type { InputPort, NodeSpec, Problem } from "../api/client";
import { setInput } from "../document/edit";
import { nodeName } from "../document/names";
import type { WorkflowNode as Node } from "../document/types";
import { edgesIn, isEdge, unwrapped, wrapped } from "../document/types";
import { colourOf, useCatalog } from "../store/catalog";
import { useSeen } from "../store/seen";
import { useSpec } from "../store/specs";
import { useStrings } from "../strings";
import { Boundary } from "../widgets/Boundary";
import { ModelDefaults } from "../widgets/ModelDefaults";
import { isWide, takesLiteral, widgetOf } from "../widgets/registry";
import { NodeHead } from "./NodeHead";
import { NodeResult } from "./NodeResult";
import { ProblemList } from "./ProblemList";
import { RepeatForm } from "./RepeatForm";
import type { FlowNode } from "./flow";
import { handleOf, moreHandle } from "./flow";

const NO_PROBLEMS: Problem[] = [];

export const WorkflowNode = memo(function WorkflowNode({ id, selected }: NodeProps<FlowNode>) {
  const node = useSeen((state) => state.workflow.nodes[id]);
  return (
    <Boundary of={node} instead={(error) => <Unshown node={node} error={error} />}>
      <Whole id={id} selected={selected} node={node} />
    </Boundary>
  );
});

/** A node that fails when it is drawn: what it holds, so that one can see why. */
function Unshown({ node, error }: { node?: Node; error: Error }) {
  const words = useStrings().canvas;
  return (
    <div className="node node-unshown" data-problem>
      <p>{words.cannotShow}</p>
      <pre className="nodrag nowheel" tabIndex={0}>{`${error.message}\n${JSON.stringify(node, null, 2)}`}</pre>
    </div>
  );
}

function Whole({ id, selected, node }: { id: string; selected: boolean; node?: Node }) {
  const collapsed = useSeen((state) => state.workflow.layout.nodes[id]?.collapsed ?? false);
  const problems = useSeen(useShallow((state) => mine(state.checked.problems, id)));
  const spec = useSpec(node);
  const strings = useStrings();
  const [unfolded, setUnfolded] = useState(false);
  const refresh = useUpdateNodeInternals();
  const handles = node ? Object.values(node.inputs).flatMap(edgesIn).length : 0;
  const measured = useRef(false); // React Flow measures a node itself when it appears, and all of them at once
  useEffect(() => {
    if (measured.current) refresh(id);
    measured.current = true;
  }, [refresh, id, collapsed, handles, spec, unfolded]);
  if (!node) return null;
  return (
    <div
      className="node"
      data-selected={selected}
      data-mode={node.mode ?? "active"}
      data-problem={problems.length > 0 || undefined}
      data-missing={!spec || undefined}
      data-collapsed={collapsed || undefined}
    >
      <NodeHead id={id} node={node} spec={spec} collapsed={collapsed} />
      {node.repeat && !collapsed && <RepeatForm id={id} type={node.type} repeat={node.repeat} />}
      {collapsed || !spec ? <Sockets id={id} node={node} spec={spec} /> : <Ports id={id} node={node} spec={spec} problems={problems} fold={{ open: unfolded, toggle: () => setUnfolded(!unfolded) }} />}
      {!spec && !collapsed && <Missing node={node} />}
      {!collapsed && <ProblemList outer={id} problems={spec ? problems.filter((problem) => !shownAtPort(spec, id, problem)) : problems} />}
      {!collapsed && <NodeResult id={id} name={nodeName(strings, node, spec)} />}
    </div>
  );
}

const shownAtPort = (spec: NodeSpec, id: string, { node, input }: Problem) =>
  node === id && spec.inputs.some(({ name }) => name === input);

/** The problems of a node, with those of the nodes inside of it. */
function mine(problems: Problem[], id: string): Problem[] {
  const own = problems.filter(({ node }) => node === id || node?.startsWith(`${id}/`));
  return own.length ? own : NO_PROBLEMS;
}

function Missing({ node }: { node: Node }) {
  const words = useStrings().canvas;
  return (
    <div className="node-missing">
      <p>{words.missing}</p>
      <code>{node.type}</code>
    </div>
  );
}

/** The handles without their rows: of a collapsed node, and of one whose type is not known, as far as edges use them. */
function Sockets({ id, node, spec }: { id: string; node: Node; spec?: NodeSpec }) {
  const types = useCatalog((state) => state.types);
  const used = useSeen(useShallow((state) => (spec ? [] : outputsUsed(state.workflow.nodes, id))));
  const inputs = Object.entries(node.inputs).flatMap(([name, value]) => edgesIn(value).map(({ index }) => handleOf(name, index)));
  const free = spec ? spec.inputs.map(({ name, is_list }) => (is_list ? moreHandle(name) : name)) : [];
  const targets = [...new Set([...inputs, ...free])];
  const sources = spec ? spec.outputs.map(({ name }) => name) : used;
  const colour = (kind?: string) => ({ background: colourOf(types, kind ?? "") });
  return (
    <>
      {targets.map((name) => (
        <Handle
          key={name}
          className="socket"
          type="target"
          position={Position.Left}
          id={name}
          style={colour(spec?.inputs.find((port) => name === port.name || name.startsWith(`${port.name}[`))?.kind)}
        />
      ))}
      {sources.map((name) => (
        <Handle
          key={name}
          className="socket"
          type="source"
          position={Position.Right}
          id={name}
          style={colour(spec?.outputs.find((port) => port.name === name)?.kind)}
        />
      ))}
    </>
  );
}

function outputsUsed(nodes: Record<string, Node>, id: string): string[] {
  const edges = Object.values(nodes).flatMap(({ inputs }) => Object.values(inputs).flatMap(edgesIn));
  return [...new Set(edges.filter(({ edge }) => edge.node === id).map(({ edge }) => edge.output))];
}

interface PortsProps {
  id: string;
  node: Node;
  spec: NodeSpec;
  problems: Problem[];
  /** Advanced inputs that have their default are hidden unless it is open. */
  fold: { open: boolean; toggle(): void };
}

function Ports({ id, node, spec, problems, fold }: PortsProps) {
  const words = useStrings().canvas;
  const problemOf = (port: InputPort) => problems.find(({ node, input }) => node === id && input === port.name);
  const folded = spec.inputs.filter((port) => isUnchanged(port, node.inputs[port.name]) && !problemOf(port));
  const shown = fold.open ? spec.inputs : spec.inputs.filter((port) => !folded.includes(port));
  const types = useCatalog((state) => state.types);
  return (
    <div className="node-body">
      {spec.outputs.map((port) => (
        <div className="port port-output" key={port.name} title={kindOf(port)}>
          <span>{port.name}</span>
          <Handle
            type="source"
            position={Position.Right}
            id={port.name}
            title={`${port.name}: ${kindOf(port)}`}
            data-list={port.is_list || undefined}
            style={{ background: colourOf(types, port.kind) }}
          />
        </div>
      ))}
      {shown.map((port) => (
        <Input
          key={port.name}
          id={id}
          port={port}
          value={node.inputs[port.name]}
          colour={colourOf(types, port.kind)}
          problem={problemOf(port)}
        />
      ))}
      {folded.length > 0 && (
        <button className="button-plain node-fold nodrag" aria-expanded={fold.open} onClick={fold.toggle}>
          {fold.open ? words.foldLess : words.foldMore(folded.length)}
        </button>
      )}
    </div>
  );
}

/** Whether an advanced input has its default. */
const isUnchanged = ({ advanced, default: usual }: InputPort, value: unknown) => advanced && (value === undefined || value === usual);

const kindOf = ({ kind, is_list }: { kind: string; is_list: boolean }) => (is_list ? `[${kind}]` : kind);

interface InputProps {
  id: string;
  port: InputPort;
  value: unknown;
  colour: string;
  problem?: Problem;
}

const Input = memo(function Input({ id, port, value, colour, problem }: InputProps) {
  const words = useStrings().canvas;
  const edit = useSeen((state) => state.edit);
  const items = port.is_list ? edgesIn(value).filter(({ index }) => index !== null) : [];
  const Widget = takesLiteral(port) && edgesIn(value).length === 0 ? widgetOf(port) : null;
  const wide = Widget !== null && isWide(port);
  const field = `${id}-${port.name}`;
  const style = { background: colour };
  const lacking = problem?.code === "missing_input" && !Widget; // the place says it; the list of problems has the words
  const more = port.is_list && !isEdge(value);
  const name = <span className="port-name">{port.name}</span>;
  return (
    <>
      {items.map(({ index }) => (
        <div className="port" key={index}>
          <Handle type="target" position={Position.Left} id={handleOf(port.name, index)} style={style} data-list />
          <span className="port-name">{handleOf(port.name, index)}</span>
        </div>
      ))}
      <div className="port" data-wide={wide || undefined} data-problem={problem ? true : undefined}>
        <Handle
          type="target"
          position={Position.Left}
          id={more ? moreHandle(port.name) : port.name}
          title={`${more ? words.more(port.name) : port.name}: ${kindOf(port)}`}
          data-list={port.is_list || undefined}
          style={style}
        />
        {Widget ? (
          <label htmlFor={field} title={titleOf(port)}>
            {name}
          </label>
        ) : (
          <span title={lacking ? `${titleOf(port)}\n${problem?.message}` : titleOf(port)}>
            {name}
            {lacking && <span className="hidden">{problem?.message}</span>}
          </span>
        )}
        {Widget && (
          <div className="widget nodrag nowheel">
            <Widget
              id={field}
              port={port}
              node={id}
              value={unwrapped(value)}
              onChange={(next) => edit(setInput(id, port.name, wrapped(next)), field)}
            />
          </div>
        )}
        {Widget && <ModelDefaults node={id} port={port} value={unwrapped(value)} />}
        {problem && !lacking && <ProblemList problems={[problem]} />}
      </div>
    </>
  );
});

const titleOf = (port: InputPort) => [kindOf(port), port.help].filter(Boolean).join("\n");
