import { useEffect } from "react";
import type { InputPort, Problem } from "../api/client";
import { addToForm, freeInputs, freshName } from "../document/interface";
import { specOf } from "../document/graphs";
import type { Axis } from "../document/sweep";
import { cellCount, entryOf, MAX_AXES, MAX_CELLS, newAxis, valuesOf } from "../document/sweep";
import type { Target } from "../document/types";
import { useDocument } from "../store/document";
import { usePorts, useSpecs } from "../store/specs";
import type { Batch } from "../store/sweeps";
import { changeSheet, listBatches, startSweep, useSheet, useSweeps } from "../store/sweeps";
import { useActive } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useOffer } from "../widgets/choices";
import { SweepResult } from "./SweepResult";
import { ICONS } from "./icons";
import { useNow } from "./now";

/** Many runs of the open workflow with different values, and their results as a grid. */
export function SweepPanel() {
  const { shown } = useSheet();
  useEffect(() => void listBatches(), []);
  return (
    <div className="sweep">
      <Axes />
      {shown !== null && <SweepResult key={shown} id={shown} />}
      <Earlier />
    </div>
  );
}

// Choosing

/** The axes whose inputs the workflow still has, with their ports. */
function usePlan() {
  const { axes } = useSheet();
  const inputs = useDocument((state) => state.workflow.inputs);
  const port = usePorts();
  return axes.map((axis) => {
    const item = inputs.find(({ name }) => name === axis.input);
    const found = item && port(item);
    return { axis, port: found && entryOf(found) ? found : undefined };
  });
}

function Axes() {
  const words = useStrings().panels.sweep;
  const tab = useActive();
  const { axes, problems, ordering } = useSheet();
  const plan = usePlan();
  const found = plan.map(({ axis, port }) => (port ? valuesOf(port, axis) : { values: [], count: 0, wrong: [] }));
  const cells = cellCount(found.map(({ count }) => count));
  const fits = cells > 0 && cells <= MAX_CELLS && found.every(({ wrong }) => wrong.length === 0);
  const change = (n: number, next: Axis | null) =>
    changeSheet(tab, { axes: axes.flatMap((axis, at) => (at !== n ? [axis] : next ? [next] : [])), problems: [] });
  const start = () => startSweep(tab, axes.map(({ input }, n) => ({ input, values: found[n]?.values ?? [] })));
  return (
    <section aria-label={words.axes}>
      {axes.length === 0 && <p className="quiet">{words.hint}</p>}
      {plan.map(({ axis, port }, n) => (
        <AxisForm key={axis.input} axis={axis} place={n} port={port} wrong={found[n]?.wrong ?? []} change={(next) => change(n, next)} />
      ))}
      {axes.length < MAX_AXES && <AddAxis />}
      {axes.length > 0 && (
        <div className="form-run">
          <button className="button-primary" disabled={!fits || ordering} aria-busy={ordering} onClick={() => void start()}>
            {words.start}
          </button>
          <p className="sweep-count" data-bad={cells > MAX_CELLS || undefined} role="status">
            {words.cells(found.map(({ count }) => count), cells, MAX_CELLS)}
          </p>
        </div>
      )}
      {problems.map((problem, n) => (
        <Refusal key={n} problem={problem} />
      ))}
    </section>
  );
}

function Refusal({ problem: { node, input, message, expected, got } }: { problem: Partial<Problem> }) {
  const words = useStrings().panels.checks;
  const where = [node, input].filter(Boolean).join(" · ");
  const more = [expected && words.expected(expected), got && words.got(got)].filter(Boolean).join(", ");
  return (
    <p className="job-problem" role="alert">
      {where && <strong>{where}: </strong>}
      {message}
      {more && ` (${more})`}
    </p>
  );
}

interface AxisProps {
  axis: Axis;
  place: number;
  port: InputPort | undefined;
  wrong: readonly string[];
  change(next: Axis | null): void;
}

function AxisForm({ axis, place, port, wrong, change }: AxisProps) {
  const words = useStrings().panels.sweep;
  return (
    <fieldset className="form-adding sweep-axis">
      <legend>
        {axis.input} <span className="quiet">{words.places[place]}</span>
        <button
          className="button-icon"
          title={words.remove(axis.input)}
          aria-label={words.remove(axis.input)}
          onClick={() => change(null)}
        >
          <Icon path={ICONS.close} size={14} />
        </button>
      </legend>
      {port ? <Entry axis={axis} port={port} change={change} /> : <p className="job-problem">{words.gone}</p>}
      {wrong.length > 0 && <p className="job-problem">{words.wrong(wrong.join(", "), port?.kind === "INT")}</p>}
    </fieldset>
  );
}

function Entry({ axis, port, change }: { axis: Axis; port: InputPort; change(next: Axis): void }) {
  const words = useStrings().panels.sweep;
  const shared = {
    className: "field",
    "aria-label": words.values(axis.input),
    value: axis.text,
    onChange: ({ target }: { target: { value: string } }) => change({ ...axis, text: target.value }),
  };
  switch (entryOf(port)) {
    case "numbers":
      return <input {...shared} placeholder={port.kind === "INT" ? "1..4" : "3, 5, 7.5"} spellCheck={false} />;
    case "lines":
      return <textarea {...shared} rows={3} placeholder={words.lines} />;
    default:
      return <Ticks axis={axis} port={port} change={change} />;
  }
}

const SWITCH = ["true", "false"];

function Ticks({ axis, port, change }: { axis: Axis; port: InputPort; change(next: Axis): void }) {
  const words = useStrings();
  const offer = useOffer(port);
  const choices = port.kind === "BOOLEAN" ? SWITCH : offer.choices;
  const toggle = (choice: string) => {
    const isTicked = (one: string) => axis.ticked.includes(one) !== (one === choice);
    change({ ...axis, ticked: choices.filter(isTicked) });
  };
  return (
    <div className="sweep-ticks" role="group" aria-label={words.panels.sweep.values(axis.input)}>
      {choices.map((choice) => (
        <label key={choice}>
          <input type="checkbox" checked={axis.ticked.includes(choice)} onChange={() => toggle(choice)} />
          {choice}
        </label>
      ))}
      {choices.length === 0 && <span className="quiet">{words.panels.sweep.noChoices}</span>}
    </div>
  );
}

/** A choice of the named inputs, and of inputs of nodes, which get a name when they are chosen. */
function AddAxis() {
  const words = useStrings().panels.sweep;
  const tab = useActive();
  const { axes } = useSheet();
  const workflow = useDocument((state) => state.workflow);
  const edit = useDocument((state) => state.edit);
  const specs = useSpecs();
  const port = usePorts();
  const named = workflow.inputs.filter((item) => {
    const found = port(item);
    return found && entryOf(found) && !axes.some(({ input }) => input === item.name);
  });
  const free = Object.entries(workflow.nodes).map(([node, made]) => {
    const spec = specOf(specs, made);
    const fits = new Set(spec?.inputs.filter(entryOf).map(({ name }) => name));
    return { node, title: made.title ?? node, inputs: freeInputs(workflow, node, spec).filter((name) => fits.has(name)) };
  });
  const add = (input: string) => changeSheet(tab, { axes: [...axes, newAxis(input)], problems: [] });
  const choose = (value: string) => {
    const chosen = JSON.parse(value) as string | Target;
    if (typeof chosen === "string") return add(chosen);
    add(freshName(workflow, chosen));
    edit(addToForm(chosen));
  };
  return (
    <select className="field" aria-label={words.add} value="" onChange={(event) => choose(event.target.value)}>
      <option value="" disabled>
        {words.add}
      </option>
      {named.length > 0 && (
        <optgroup label={words.named}>
          {named.map(({ name }) => (
            <option key={name} value={JSON.stringify(name)}>
              {name}
            </option>
          ))}
        </optgroup>
      )}
      {free.map(
        ({ node, title, inputs }) =>
          inputs.length > 0 && (
            <optgroup key={node} label={title}>
              {inputs.map((input) => (
                <option key={input} value={JSON.stringify({ node, input })}>
                  {input}
                </option>
              ))}
            </optgroup>
          ),
      )}
    </select>
  );
}

// Earlier ones

/** The batches of workflows with the name of the open one. */
function Earlier() {
  const words = useStrings().panels;
  const name = useDocument((state) => state.workflow.name);
  const { batches, listed, next } = useSweeps();
  const found = listed.map((id) => batches[id]).filter((batch) => batch?.name === name) as Batch[];
  if (found.length === 0 && next === null) return null;
  return (
    <section>
      <h3>{words.sweep.earlier}</h3>
      <ul className="list">
        {found.map((batch) => (
          <EarlierOne key={batch.id} batch={batch} />
        ))}
      </ul>
      {next !== null && (
        <button className="button more" onClick={() => void listBatches(next)}>
          {words.more}
        </button>
      )}
    </section>
  );
}

function EarlierOne({ batch: { id, state, total, created } }: { batch: Batch }) {
  const words = useStrings().panels;
  const tab = useActive();
  const now = useNow(15);
  const isShown = useSheet().shown === id;
  return (
    <li>
      <button
        className="saved-name button-plain sweep-earlier"
        aria-pressed={isShown}
        onClick={() => changeSheet(tab, { shown: isShown ? null : id })}
      >
        {words.sweep.runs(total)} · {words.jobs.states[state]}
        <span className="quiet">{words.ago(now - created)}</span>
      </button>
    </li>
  );
}
