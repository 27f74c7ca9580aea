import { ACTIONS } from "../canvas/actions";
import { shownKeys } from "../widgets/keys";
import { useStrings } from "../strings";
import { Dialog } from "./Dialog";

/** Every key and gesture. */
export function CheatSheet() {
  const words = useStrings();
  const { actions, sections, mouse } = words.canvas;
  const { title, ...gestures } = mouse;
  return (
    <Dialog name="help" title={words.shell.help}>
      <div className="cheat-sheet">
        {(Object.keys(sections) as (keyof typeof sections)[]).map((section) => (
          <section key={section}>
            <h3>{sections[section]}</h3>
            <dl>
              {ACTIONS.filter((action) => action.section === section).map(({ id, keys }) => (
                <div key={id}>
                  <dt>{actions[id]}</dt>
                  <dd>
                    {keys.map((chord) => (
                      <kbd key={chord}>{shownKeys(chord)}</kbd>
                    ))}
                  </dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>{title}</h3>
          <ul className="list">
            {Object.entries(gestures).map(([id, text]) => (
              <li key={id}>{text}</li>
            ))}
          </ul>
        </section>
      </div>
    </Dialog>
  );
}
