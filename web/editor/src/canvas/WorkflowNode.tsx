import { Handle, Position } from "@xyflow/react";
import type { NodeProps } from "@xyflow/react";
import { memo } from "react";
import type { InputPort, NodeSpec } from "../api/client";
import { setInput } from "../document/edit";
import type { WorkflowNode as Node } from "../document/types";
import { edgesIn, isEdge, unwrapped, wrapped } from "../document/types";
import { colourOf, useCatalog } from "../store/catalog";
import { useDocument } from "../store/document";
import { useStrings } from "../strings";
import { takesLiteral, widgetOf } from "../widgets/registry";
import type { FlowNode } from "./flow";
import { handleOf, moreHandle } from "./flow";

export const WorkflowNode = memo(function WorkflowNode({ id, selected }: NodeProps<FlowNode>) {
  const words = useStrings().canvas;
  const node = useDocument((state) => state.workflow.nodes[id]);
  const spec = useCatalog((state) => (node ? state.specs.get(node.type) : undefined));
  if (!node) return null;
  return (
    <div className="node" data-selected={selected} data-mode={node.mode ?? "active"}>
      <header className="node-head">{node.title ?? node.type}</header>
      {spec ? <Ports id={id} node={node} spec={spec} /> : <p className="node-missing">{words.missing}</p>}
    </div>
  );
});

function Ports({ id, node, spec }: { id: string; node: Node; spec: NodeSpec }) {
  const types = useCatalog((state) => state.types);
  return (
    <div className="node-body">
      {spec.outputs.map((port) => (
        <div className="port port-output" key={port.name}>
          <span>{port.name}</span>
          <Handle
            type="source"
            position={Position.Right}
            id={port.name}
            style={{ background: colourOf(types, port.kind) }}
          />
        </div>
      ))}
      {spec.inputs.map((port) => (
        <Input key={port.name} id={id} port={port} value={node.inputs[port.name]} colour={colourOf(types, port.kind)} />
      ))}
    </div>
  );
}

interface InputProps {
  id: string;
  port: InputPort;
  value: unknown;
  colour: string;
}

const Input = memo(function Input({ id, port, value, colour }: InputProps) {
  const edit = useDocument((state) => state.edit);
  const items = port.is_list ? edgesIn(value).filter(({ index }) => index !== null) : [];
  const Widget = takesLiteral(port) && edgesIn(value).length === 0 ? widgetOf(port) : null;
  const field = `${id}-${port.name}`;
  const style = { background: colour };
  return (
    <>
      {items.map(({ index }) => (
        <div className="port" key={index}>
          <Handle type="target" position={Position.Left} id={handleOf(port.name, index)} style={style} />
          <span>{handleOf(port.name, index)}</span>
        </div>
      ))}
      <div className="port" data-wide={Widget ? true : undefined}>
        <Handle
          type="target"
          position={Position.Left}
          id={port.is_list && !isEdge(value) ? moreHandle(port.name) : port.name}
          style={style}
        />
        <label htmlFor={Widget ? field : undefined} title={port.help}>
          {port.name}
        </label>
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
      </div>
    </>
  );
});
