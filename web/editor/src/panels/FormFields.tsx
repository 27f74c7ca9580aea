import type { InputPort } from "../api/client";
import { arrangedIn, groupsOf, setNamed } from "../document/interface";
import type { Arranged } from "../document/interface";
import type { NamedInput } from "../document/types";
import { edgesIn, unwrapped, wrapped } from "../document/types";
import { useDocument } from "../store/document";
import { usePorts } from "../store/specs";
import { useStrings } from "../strings";
import { ModelDefaults } from "../widgets/ModelDefaults";
import { isWide, takesLiteral, widgetOf } from "../widgets/registry";

/** The named inputs under their headings; `helped`: what an input is for is written out. */
export function FormFields({ helped = false }: { helped?: boolean }) {
  const inputs = useDocument((state) => state.workflow.inputs);
  const layout = useDocument((state) => state.workflow.layout);
  const arranged = arrangedIn({ layout });
  return groupsOf({ inputs, layout }).map(({ title, items }) => {
    const fields = items.map((item) => <Field key={item.name} item={item} arranged={arranged[item.name] ?? {}} helped={helped} />);
    if (title === "") return <Group key={items[0]?.name}>{fields}</Group>;
    return (
      <fieldset key={items[0]?.name} className="form-group">
        <legend>{title}</legend>
        <Group>{fields}</Group>
      </fieldset>
    );
  });
}

const Group = ({ children }: { children: React.ReactNode }) => <div className="form-fields">{children}</div>;

interface FieldProps {
  item: NamedInput;
  arranged: Arranged;
  helped: boolean;
}

function Field({ item, arranged, helped }: FieldProps) {
  const words = useStrings().panels.named;
  const port = usePorts()(item);
  const [target] = item.to;
  const value = useDocument((state) => state.workflow.nodes[target?.node ?? ""]?.inputs[target?.input ?? ""]);
  const edit = useDocument((state) => state.edit);
  const id = `form-${item.name}`;
  const Widget = port && takesLiteral(port) ? widgetOf(port) : null;
  const wired = edgesIn(value).length > 0;
  const help = arranged.help ?? port?.help;
  return (
    <div className="form-field" data-wide={(port && isWide(port)) || undefined} data-half={arranged.half}>
      <label htmlFor={Widget && !wired ? id : undefined} title={help}>
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
      {helped && help && <p className="form-help quiet">{help}</p>}
      {helped && <Fault item={item} />}
    </div>
  );
}

/** What the server says of the input's value. */
function Fault({ item: { to } }: { item: NamedInput }) {
  const texts = useStrings().problems;
  const problem = useDocument(({ checked }) =>
    checked.problems.find((one) => to.some(({ node, input }) => one.node === node && one.input === input)),
  );
  if (!problem) return null;
  const more = [problem.expected, problem.hint].filter(Boolean).join(" · ");
  return (
    <p className="job-problem">
      {texts[problem.code] ?? problem.message}
      {more && ` (${more})`}
    </p>
  );
}
