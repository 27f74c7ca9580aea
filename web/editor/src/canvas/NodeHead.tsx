import { useEffect, useRef } from "react";
import type { NodeSpec } from "../api/client";
import { setTitle, toggleOnError } from "../document/edit";
import { GRAPH } from "../document/graphs";
import { nodeName, typeName } from "../document/names";
import type { WorkflowNode as Node } from "../document/types";
import { useRunId, useSeen } from "../store/seen";
import { useIsMended, useReason, useShownRun } from "../store/running";
import { nodeRun } from "../store/runs";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { composes } from "../widgets/keys";
import { toggleCollapse } from "./actions";
import { RepeatBadge } from "./RepeatForm";
import { useCanvas } from "./state";

interface HeadProps {
  id: string;
  node: Node;
  spec?: NodeSpec;
  collapsed: boolean;
}

export function NodeHead({ id, node, spec, collapsed }: HeadProps) {
  const strings = useStrings();
  const words = strings.canvas;
  const name = nodeName(strings, node, spec);
  const renaming = useCanvas((state) => state.renaming === id);
  const set = useCanvas((state) => state.set);
  const isGraph = node.type.startsWith(GRAPH);
  const plugin = isGraph ? words.subWorkflow : node.type.includes("/") ? node.type.split("/")[0] : "";
  return (
    <header className="node-head" title={[node.type, spec?.help].filter(Boolean).join("\n")} onDoubleClick={() => isGraph || set({ renaming: id })}>
      <button
        className="button-icon nodrag"
        tabIndex={-1}
        aria-expanded={!collapsed}
        aria-label={`${collapsed ? words.expand : words.collapse} ${name}`}
        onClick={() => toggleCollapse([id])}
      >
        <Icon path={collapsed ? "M8 5l5 5-5 5" : "M5 8l5 5 5-5"} size={14} />
      </button>
      {renaming ? <TitleField id={id} shown={name} plain={typeName(strings, node.type, spec)} /> : <span className="node-title">{name}</span>}
      {plugin && !renaming && <span className="node-plugin">{plugin}</span>}
      {node.each && <EachItem id={id} node={node} each={node.each} />}
      {node.repeat && <RepeatBadge id={id} repeat={node.repeat} />}
      {node.mode === "bypass" && <span className="badge">{words.bypassed}</span>}
      {node.mode === "mute" && <span className="badge">{words.muted}</span>}
      <State id={id} name={name} />
    </header>
  );
}

/** Which inputs go item by item; a click changes what a failed item does. */
function EachItem({ id, node, each }: { id: string; node: Node; each: string[] }) {
  const words = useStrings().canvas;
  const edit = useSeen((state) => state.edit);
  const keeps = node.on_error === "keep";
  return (
    <button
      className="badge nodrag"
      title={`${each.join(", ")}\n${keeps ? words.leavesOut : words.stops}`}
      onClick={() => edit(toggleOnError(id))}
    >
      {keeps ? words.eachKept : words.each}
    </button>
  );
}

/** A title that equals the plain name is none. */
function TitleField({ id, shown, plain }: { id: string; shown: string; plain: string }) {
  const words = useStrings().canvas;
  const edit = useSeen((state) => state.edit);
  const set = useCanvas((state) => state.set);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.select(), []);
  const end = (title: string | null) => {
    if (title !== null) edit(setTitle(id, title === plain ? "" : title));
    set({ renaming: null });
  };
  return (
    <input
      ref={field}
      className="field nodrag"
      aria-label={words.rename}
      defaultValue={shown}
      autoFocus
      onBlur={(event) => end(event.target.value)}
      onKeyDown={(event) => {
        if (composes(event)) return;
        if (event.key === "Enter") end(event.currentTarget.value);
        if (event.key === "Escape") end(null);
      }}
    />
  );
}

/** How the shown run fares at this node. */
function State({ id, name }: { id: string; name: string }) {
  const words = useStrings().canvas;
  const runId = useRunId(id);
  const run = useShownRun((run) => nodeRun(run, runId));
  const mended = useIsMended(runId);
  if (!run) return null;
  switch (run.status) {
    case "running":
      return <Ring part={run.total ? (run.step ?? 0) / run.total : null} label={words.progress(name)} />;
    case "cached":
      return (
        <span className="badge badge-good" title={words.cachedHelp}>
          {words.cached}
        </span>
      );
    case "done":
      return <Seconds id={runId} seconds={run.seconds ?? 0} />;
    case "failed":
      return mended ? null : <span className="badge badge-bad">{words.failed}</span>;
  }
}

/** How long a node took; pointed at, why it had to run. */
function Seconds({ id, seconds }: { id: string; seconds: number }) {
  const words = useStrings().canvas;
  const reason = useReason(id);
  const why = reason && `${words.why}: ${reason}`;
  return (
    <span className="badge" title={why}>
      {words.seconds(seconds)}
      {why && <span className="hidden">{why}</span>}
    </span>
  );
}

const AROUND = 2 * Math.PI * 7;

/** A ring that fills; without a known part it turns. */
function Ring({ part, label }: { part: number | null; label: string }) {
  return (
    <svg
      className="ring"
      data-turning={part === null || undefined}
      viewBox="0 0 20 20"
      width={18}
      height={18}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={part === null ? undefined : Math.round(part * 100)}
    >
      <circle cx="10" cy="10" r="7" />
      <circle cx="10" cy="10" r="7" strokeDasharray={`${(part ?? 0.25) * AROUND} ${AROUND}`} transform="rotate(-90 10 10)" />
    </svg>
  );
}
