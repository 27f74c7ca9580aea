import { useState } from "react";
import { appUrl } from "../api/client";
import { addToForm, arrangedIn, arrangeInForm, moveInForm, namedInput, nameFits, removeFromForm, renameInForm } from "../document/interface";
import type { NamedInput } from "../document/types";
import { edgesIn } from "../document/types";
import { useSpecs } from "../store/specs";
import { useDocument } from "../store/document";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { composes } from "../widgets/keys";
import { takesLiteral } from "../widgets/registry";
import { FormFields } from "./FormFields";
import { FormResult, FormRun } from "./FormRun";
import { ICONS } from "./icons";

/** The workflow's named inputs as a form, with the result below; what stands in it can be changed here too. */
export function FormPanel() {
  const { shell, panels } = useStrings();
  const words = panels.named;
  const source = useDocument((state) => state.source);
  const inputs = useDocument((state) => state.workflow.inputs);
  const [editing, setEditing] = useState(false);
  return (
    <div className="form-view">
      {inputs.length === 0 && <p className="quiet">{words.none}</p>}
      {editing
        ? inputs.map((item, n) => <Entry key={item.name} item={item} first={n === 0} last={n === inputs.length - 1} />)
        : <FormFields />}
      {(editing || inputs.length === 0) && <Adding />}
      {inputs.length > 0 && (
        <button className="button-link" aria-expanded={editing} onClick={() => setEditing(!editing)}>
          {editing ? words.done : words.edit}
        </button>
      )}
      {source && inputs.length > 0 && (
        <a className="form-app" href={appUrl(source.name)} target="_blank" rel="noreferrer">
          {shell.openApp}
        </a>
      )}
      <FormRun />
      <FormResult />
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
      <Arrangement name={name} />
    </div>
  );
}

/** The heading that an input stands under, what it is for, and how wide it is. */
function Arrangement({ name }: { name: string }) {
  const words = useStrings().panels.named;
  const layout = useDocument((state) => state.workflow.layout);
  const edit = useDocument((state) => state.edit);
  const { group = "", help = "", half = false } = arrangedIn({ layout })[name] ?? {};
  const [open] = useState(Boolean(group || help || half)); // as it was found: what is emptied closes nothing
  const field = (part: "group" | "help", value: string) => (
    <input
      className="field"
      aria-label={words.partOf(words[part], name)}
      placeholder={words[part]}
      value={value}
      onChange={(event) => edit(arrangeInForm(name, { [part]: event.target.value }), `${part}-${name}`)}
    />
  );
  return (
    <details className="form-arrangement" open={open}>
      <summary>{words.arrange}</summary>
      {field("group", group)}
      {field("help", help)}
      <label>
        <input type="checkbox" checked={half} onChange={() => edit(arrangeInForm(name, { half: !half }))} /> {words.half}
      </label>
    </details>
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
