/** Groups and notes: boxes that people draw around and beside nodes. */

import { NodeResizer } from "@xyflow/react";
import type { NodeProps } from "@xyflow/react";
import { memo, useEffect, useRef } from "react";
import { changeThing } from "../document/edit";
import { useSeen } from "../store/seen";
import { useStrings } from "../strings";
import type { FlowNode } from "./flow";
import { partsOf } from "./flow";
import { useCanvas } from "./state";

export const GroupNode = memo(function GroupNode({ id: flowId, selected }: NodeProps<FlowNode>) {
  const words = useStrings().canvas;
  const { id } = partsOf(flowId);
  const group = useSeen((state) => state.workflow.layout.groups.find((item) => item.id === id));
  const edit = useSeen((state) => state.edit);
  const renaming = useCanvas((state) => state.renaming === flowId);
  const title = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (!renaming) return;
    title.current?.select(); // which focuses it too
    useCanvas.getState().set({ renaming: null });
  }, [renaming]);
  if (!group) return null;
  return (
    <div className="group" data-selected={selected}>
      <Resizer kind="groups" id={id} selected={selected} />
      <input
        ref={title}
        className="group-title nodrag"
        aria-label={words.groupTitle}
        value={group.title}
        onChange={(event) => edit(changeThing("groups", id, { title: event.target.value }), flowId)}
      />
    </div>
  );
});

export const NoteNode = memo(function NoteNode({ id: flowId, selected }: NodeProps<FlowNode>) {
  const words = useStrings().canvas;
  const { id } = partsOf(flowId);
  const note = useSeen((state) => state.workflow.layout.notes.find((item) => item.id === id));
  const edit = useSeen((state) => state.edit);
  if (!note) return null;
  return (
    <div className="note" data-selected={selected}>
      <Resizer kind="notes" id={id} selected={selected} />
      <div className="note-grip">{words.note}</div>
      <textarea
        className="nodrag nowheel"
        aria-label={words.noteText}
        value={note.text}
        onChange={(event) => edit(changeThing("notes", id, { text: event.target.value }), flowId)}
      />
    </div>
  );
});

function Resizer({ kind, id, selected }: { kind: "groups" | "notes"; id: string; selected: boolean }) {
  const edit = useSeen((state) => state.edit);
  return (
    <NodeResizer
      isVisible={selected}
      minWidth={120}
      minHeight={72}
      onResizeEnd={(_, { x, y, width, height }) => edit(changeThing(kind, id, { x, y, width, height }))}
    />
  );
}
