import { useStrings } from "../strings";
import { faultProps } from "./framed";
import { IconButton } from "./IconButton";
import { ICONS } from "./icons";
import { useLastSeed } from "./lastSeed";
import { pressed } from "./NumberWidget";
import type { Figure } from "./number";
import { rangeOf, written } from "./number";
import { Refused } from "./Refused";
import type { WidgetProps } from "./widget";
import { useFigure } from "./useFigure";

const RANDOM = "random";

/** A seed: a number, or drawn by the server for every run; the last one drawn is shown and kept by one click. */
export function SeedWidget(props: WidgetProps) {
  const words = useStrings().widgets;
  const { port, value, onChange, disabled } = props;
  const last = useLastSeed(props.node, port.name);
  const random = (value === undefined ? port.default : value) === RANDOM;
  const stays = last !== null && (random || String(last) !== String(value ?? port.default));
  return (
    <div className="widget-seed">
      <div className="widget-row">
        {random ? <Drawn {...props} /> : <Fixed {...props} />}
        <IconButton
          label={words.random}
          path={ICONS.dice}
          pressed={random}
          disabled={disabled}
          onClick={() => onChange(random ? (last ?? draw()) : RANDOM)}
        />
      </div>
      {stays && (
        <button
          type="button"
          className="widget-last"
          disabled={disabled}
          aria-label={words.useLast(String(last))}
          title={words.useLast(String(last))}
          onClick={() => onChange(last)}
        >
          {words.lastSeed(String(last))}
        </button>
      )}
    </div>
  );
}

/** A digit that is typed makes the seed a number. */
function Drawn({ id, fault, disabled, onChange }: WidgetProps) {
  const words = useStrings().widgets;
  return (
    <input
      id={id}
      className="field field-number seed-random"
      type="text"
      inputMode="numeric"
      autoComplete="off"
      value=""
      placeholder={words.randomShort}
      disabled={disabled}
      title={fault ?? words.random}
      {...faultProps({ id, fault })}
      onChange={({ target }) => /^\d+$/.test(target.value) && onChange(written(BigInt(target.value)))}
    />
  );
}

function Fixed(props: WidgetProps) {
  const { id, port, disabled } = props;
  const figure = useFigure(props);
  const refusalId = figure.refusal ? `${id}-refusal` : undefined;
  return (
    <div className="widget-grow">
      <input
        id={id}
        className="field field-number"
        type="text"
        inputMode="numeric"
        autoComplete="off"
        value={figure.text}
        disabled={disabled}
        title={props.fault ?? rangeOf(port)}
        {...faultProps(props, refusalId)}
        aria-invalid={figure.wrong || Boolean(props.fault) || undefined}
        onChange={(event) => figure.type(event.target.value)}
        onBlur={figure.settle}
        onKeyDown={(event) => pressed(event, figure)}
      />
      {figure.refusal && (
        <Refused id={refusalId as string} refusal={figure.refusal} held={figure.held} onTake={figure.put} />
      )}
    </div>
  );
}

/** A seed of the size that people can still read. */
function draw(): Figure {
  return (crypto.getRandomValues(new Uint32Array(1))[0] as number) >>> 0;
}
