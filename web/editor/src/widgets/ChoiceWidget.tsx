import { useStrings } from "../strings";
import { useChoices } from "./choices";
import type { WidgetProps } from "./registry";

export function ChoiceWidget({ id, port, value, onChange, disabled }: WidgetProps) {
  const words = useStrings().widgets;
  const choices = useChoices(port);
  const shown = String(value ?? port.default ?? "");
  const strange = shown !== "" && !choices.includes(shown);
  return (
    <select id={id} className="field" value={shown} disabled={disabled} onChange={(event) => onChange(event.target.value)}>
      {shown === "" && <option value="">{words.choose}</option>}
      {strange && <option value={shown}>{shown}</option>}
      {choices.map((choice) => (
        <option key={choice} value={choice}>
          {choice}
        </option>
      ))}
    </select>
  );
}
