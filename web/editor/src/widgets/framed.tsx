import { useSeen } from "../store/seen";
import { useStrings } from "../strings";
import type { Widget, WidgetProps } from "./widget";

/** A widget with what the server says of its value, and, where None is a value, a switch for it. */
export function framed(Inner: Widget): Widget {
  return function Framed(props: WidgetProps) {
    const fault = useFault(props.node, props.port.name);
    const shown = { ...props, fault };
    return (
      <>
        {props.port.optional && !CHOOSE_NONE.has(props.port.kind) ? (
          <Optional inner={Inner} props={shown} />
        ) : (
          <Inner {...shown} />
        )}
        {fault && (
          <span id={faultId(props.id)} className="hidden">
            {fault}
          </span>
        )}
      </>
    );
  };
}

/** Kinds whose widgets have None among their choices. */
const CHOOSE_NONE = new Set(["CHOICE", "MODEL_FILE", "FILE", "JSON", "ANY"]);
const FIRST: Record<string, unknown> = { STRING: "", BOOLEAN: false };

function Optional({ inner: Inner, props }: { inner: Widget; props: WidgetProps }) {
  const words = useStrings().widgets;
  const { port, value, onChange, disabled, id } = props;
  const set = (value === undefined ? port.default : value) !== null;
  const first = port.default ?? FIRST[port.kind] ?? port.minimum ?? 0;
  return (
    <div className="widget-optional">
      <input
        id={set ? undefined : id}
        type="checkbox"
        checked={set}
        disabled={disabled}
        aria-label={words.set(port.name)}
        onChange={() => onChange(set ? (port.default === null ? undefined : null) : first)}
      />
      {set ? <Inner {...props} /> : <span className="quiet">{words.none}</span>}
    </div>
  );
}

/** What the server said of an input, as one line. */
function useFault(node: string | undefined, input: string): string | undefined {
  return useSeen(({ checked }) => {
    const problem = checked.problems.find((one) => one.node === node && one.input === input);
    if (node === undefined || problem === undefined) return undefined;
    const wanted = problem.expected ? `: ${problem.expected}` : "";
    return `${problem.message}${wanted}${problem.hint ? ` (${problem.hint})` : ""}`;
  });
}

export const faultId = (id: string) => `${id}-fault`;

/** The attributes by which a field tells its fault. */
export function faultProps({ id, fault }: Pick<WidgetProps, "id" | "fault">, ...others: (string | undefined)[]) {
  const ids = [fault ? faultId(id) : undefined, ...others].filter(Boolean).join(" ");
  return { "aria-invalid": fault ? true : undefined, "aria-describedby": ids || undefined };
}
