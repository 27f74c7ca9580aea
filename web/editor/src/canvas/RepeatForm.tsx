import type { NodeSpec } from "../api/client";
import { carriers, setCarry, setRole, toggleCollect, toggleRepeat } from "../document/repeat";
import type { Repeat } from "../document/types";
import { useSeen } from "../store/seen";
import { useSpecs } from "../store/specs";
import { useStrings } from "../strings";
import { useCanvas } from "./state";

/** What a repeated node carries from turn to turn; a click opens the form that changes it. */
export function RepeatBadge({ id, repeat }: { id: string; repeat: Repeat }) {
  const words = useStrings().canvas.repeat;
  const open = useCanvas((state) => state.repeating === id);
  const set = useCanvas((state) => state.set);
  const pairs = Object.entries(repeat.carry ?? {}).map(([input, output]) => `${output} → ${input}`);
  return (
    <button
      className="badge nodrag"
      title={pairs.join("\n") || words.nothing}
      aria-expanded={open}
      onClick={() => set({ repeating: open ? null : id })}
    >
      {words.badge}
    </button>
  );
}

/** The form of the node whose badge was clicked. */
export function RepeatForm({ id, type, repeat }: { id: string; type: string; repeat: Repeat }) {
  const spec = useSpecs().get(type);
  const open = useCanvas((state) => state.repeating === id);
  return open && spec ? <Form id={id} spec={spec} repeat={repeat} /> : null;
}

function Form({ id, spec, repeat }: { id: string; spec: NodeSpec; repeat: Repeat }) {
  const words = useStrings().canvas.repeat;
  const edit = useSeen((state) => state.edit);
  const { carry = {}, collect = [] } = repeat;
  const carried = spec.inputs.filter((input) => input.name in carry || carriers(spec, input).length);
  const ends = spec.outputs.filter(({ kind, is_list }) => kind === "BOOLEAN" && !is_list);
  const numbers = spec.inputs.filter(({ kind, is_list, name }) => kind === "INT" && !is_list && !(name in carry));
  return (
    <fieldset className="repeat-form nodrag nowheel" onDoubleClick={(event) => event.stopPropagation()}>
      <legend>{words.title}</legend>
      {carried.map((input) => (
        <Choice
          key={input.name}
          label={words.carry(input.name)}
          none={words.keeps}
          value={carry[input.name]}
          names={carriers(spec, input).map(({ name }) => name)}
          onChange={(output) => edit(setCarry(id, input.name, output))}
        />
      ))}
      <Choice label={words.number} none={words.none} value={repeat.number} names={numbers.map(({ name }) => name)} onChange={(port) => edit(setRole(id, "number", port))} />
      <Choice label={words.until} none={words.none} value={repeat.until} names={ends.map(({ name }) => name)} onChange={(port) => edit(setRole(id, "until", port))} />
      {spec.outputs.map(({ name }) => (
        <label key={name}>
          <input type="checkbox" checked={collect.includes(name)} onChange={() => edit(toggleCollect(id, name))} />
          {words.collect(name)}
        </label>
      ))}
      <button className="button" onClick={() => edit(toggleRepeat(id, spec))}>
        {words.remove}
      </button>
    </fieldset>
  );
}

interface ChoiceProps {
  label: string;
  none: string;
  value: string | undefined;
  names: string[];
  onChange(name: string | null): void;
}

/** One port or none. A name that does not fit any more stays to be seen. */
function Choice({ label, none, value, names, onChange }: ChoiceProps) {
  const all = value === undefined || names.includes(value) ? names : [value, ...names];
  if (all.length === 0) return null;
  return (
    <label>
      <span>{label}</span>
      <select className="field" value={value ?? ""} onChange={(event) => onChange(event.target.value || null)}>
        <option value="">{none}</option>
        {all.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
