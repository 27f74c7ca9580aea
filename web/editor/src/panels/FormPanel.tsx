import { useState } from "react";
import type { InputPort } from "../api/client";
import { contentUrl } from "../api/client";
import { addToForm, moveInForm, namedInput, nameFits, removeFromForm, renameInForm, setNamed } from "../document/interface";
import type { NamedInput } from "../document/types";
import { edgesIn, unwrapped, wrapped } from "../document/types";
import { usePorts, useSpecs } from "../store/specs";
import { useDocument } from "../store/document";
import { cancelShown, runTab, useIsRunning, useShownFiles, useShownRun } from "../store/running";
import { progressOf } from "../store/runs";
import { useActive } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { composes } from "../widgets/keys";
import { ModelDefaults } from "../widgets/ModelDefaults";
import { isWide, takesLiteral, widgetOf } from "../widgets/registry";
import { ICONS } from "./icons";

/** The workflow's named inputs as a form, with the result below; what stands in it can be changed here too. */
export function FormPanel() {
  const words = useStrings().panels.named;
  const inputs = useDocument((state) => state.workflow.inputs);
  const [editing, setEditing] = useState(false);
  return (
    <div className="form-view">
      {inputs.length === 0 && <p className="quiet">{words.none}</p>}
      {editing
        ? inputs.map((item, n) => <Entry key={item.name} item={item} first={n === 0} last={n === inputs.length - 1} />)
        : inputs.map((item) => <Field key={item.name} item={item} />)}
      {(editing || inputs.length === 0) && <Adding />}
      {inputs.length > 0 && (
        <button className="button-link" aria-expanded={editing} onClick={() => setEditing(!editing)}>
          {editing ? words.done : words.edit}
        </button>
      )}
      <RunButton />
      <Result />
    </div>
  );
}

function Field({ item }: { item: NamedInput }) {
  const words = useStrings().panels.named;
  const port = usePorts()(item);
  const [target] = item.to;
  const value = useDocument((state) => state.workflow.nodes[target?.node ?? ""]?.inputs[target?.input ?? ""]);
  const edit = useDocument((state) => state.edit);
  const id = `form-${item.name}`;
  const Widget = port && takesLiteral(port) ? widgetOf(port) : null;
  const wired = edgesIn(value).length > 0;
  return (
    <div className="form-field" data-wide={(port && isWide(port)) || undefined}>
      <label htmlFor={Widget && !wired ? id : undefined} title={port?.help}>
        {item.name}
      </label>
      {Widget && !wired ? (
        <Widget
          id={id}
          port={port as InputPort}
          value={unwrapped(value)}
          onChange={(next) => edit(setNamed(item, wrapped(next)), id)}
        />
      ) : (
        <span className="quiet">{wired ? words.wired : words.unknown}</span>
      )}
      {port && target && !wired && <ModelDefaults node={target.node} port={port} value={unwrapped(value)} />}
    </div>
  );
}

function Entry({ item: { name, to }, first, last }: { item: NamedInput; first: boolean; last: boolean }) {
  const words = useStrings().panels.named;
  const workflow = useDocument((state) => state.workflow);
  const edit = useDocument((state) => state.edit);
  const [text, setText] = useState(name);
  const fits = text === name || nameFits(workflow, text, name);
  const rename = () => (fits ? edit(renameInForm(name, text)) : setText(name));
  const tool = (icon: string, label: string, change: Parameters<typeof edit>[0], disabled = false) => (
    <button className="button-icon" title={label} aria-label={label} disabled={disabled} onClick={() => edit(change)}>
      <Icon path={icon} size={15} />
    </button>
  );
  return (
    <div className="form-entry">
      <input
        className="field"
        aria-label={words.name(name)}
        aria-invalid={!fits}
        title={fits ? to.map(({ node, input }) => `${node}.${input}`).join(", ") : words.badName}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={rename}
        onKeyDown={(event) => event.key === "Enter" && !composes(event) && rename()}
      />
      {tool(ICONS.up, words.up(name), moveInForm(name, -1), first)}
      {tool(ICONS.down, words.down(name), moveInForm(name, 1), last)}
      {tool(ICONS.close, words.remove(name), removeFromForm(name))}
    </div>
  );
}

/** The inputs of the selected node that are not in the form yet. */
function Adding() {
  const words = useStrings().panels.named;
  const workflow = useDocument((state) => state.workflow);
  const selected = useDocument((state) => [...state.selection].find((id) => id in state.workflow.nodes) ?? "");
  const edit = useDocument((state) => state.edit);
  const specs = useSpecs();
  const select = useDocument((state) => state.select);
  const inside = useDocument((state) => state.inside.length > 0); // the form is of the document itself
  const ids = Object.keys(workflow.nodes);
  const node = selected || (ids[0] ?? "");
  const ports = (specs.get(workflow.nodes[node]?.type ?? "")?.inputs ?? []).filter(
    (port) =>
      takesLiteral(port) &&
      edgesIn(workflow.nodes[node]?.inputs[port.name]).length === 0 &&
      !namedInput(workflow, { node, input: port.name }),
  );
  if (ids.length === 0 || inside) return null;
  return (
    <fieldset className="form-adding">
      <legend>{words.add}</legend>
      <select className="field" aria-label={words.chooseNode} value={node} onChange={(event) => select([event.target.value])}>
        {ids.map((id) => (
          <option key={id} value={id}>
            {workflow.nodes[id]?.title ?? id}
          </option>
        ))}
      </select>
      <div className="form-ports">
        {ports.map((port) => (
          <button key={port.name} className="button" title={port.help} onClick={() => edit(addToForm({ node, input: port.name }))}>
            <Icon path={ICONS.add} size={12} />
            {port.name}
          </button>
        ))}
      </div>
    </fieldset>
  );
}

function RunButton() {
  const words = useStrings().panels.named;
  const tab = useActive();
  const busy = useIsRunning();
  const ordering = useDocument((state) => state.ordering);
  return (
    <div className="form-run">
      <button className="button-primary" disabled={ordering} aria-busy={ordering} onClick={() => void runTab(tab)}>
        {words.run}
      </button>
      {busy && (
        <button className="button" onClick={() => void cancelShown(tab)}>
          {words.cancel}
        </button>
      )}
    </div>
  );
}

function Result() {
  const words = useStrings().panels.named;
  const busy = useIsRunning();
  const part = useShownRun((shown) => (shown ? progressOf(shown) : 0));
  const preview = useShownRun((shown) => Object.values(shown?.nodes ?? {}).findLast((node) => node.preview)?.preview);
  const failed = useShownRun((shown) => Object.values(shown?.nodes ?? {}).find((node) => node.problem)?.problem?.message);
  const files = useShownFiles();
  return (
    <section className="form-result" aria-label={words.result}>
      {busy && (
        <div
          className="bar"
          role="progressbar"
          aria-label={words.progress}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(part * 100)}
        >
          <div style={{ width: `${part * 100}%` }} />
        </div>
      )}
      {failed && <p className="job-problem">{failed}</p>}
      {busy && preview && files.length === 0 && <img src={preview} alt={words.result} />}
      {files
        .filter(({ media }) => media.startsWith("image/"))
        .map(({ id, sha256, texts }) => (
          <a key={id} href={contentUrl(sha256)} target="_blank" rel="noreferrer">
            <img src={contentUrl(sha256)} alt={texts.split("\n")[0] || words.result} />
          </a>
        ))}
      {!busy && !failed && files.length === 0 && <p className="quiet">{words.noResult}</p>}
    </section>
  );
}
