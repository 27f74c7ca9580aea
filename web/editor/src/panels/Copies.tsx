import { originOf, renew } from "../document/blocks";
import { told } from "../api/client";
import { useDocument } from "../store/document";
import { useLibrary, versionOf } from "../store/library";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Against } from "./Versions";

/** The sub-workflows that are copies of saved workflows; one whose origin has a newer version tells what differs. */
export function Copies() {
  const words = useStrings().panels.library;
  const graphs = useDocument((state) => state.workflow.graphs);
  const own = useLibrary((state) => state.own);
  const edit = useDocument((state) => state.edit);
  const copies = Object.entries(graphs ?? {}).flatMap(([graph, made]) => {
    const origin = originOf(made);
    return origin ? [{ graph, ...origin, newest: own.find(({ name }) => name === origin.name)?.version ?? origin.version }] : [];
  });
  if (copies.length === 0) return null;
  const update = async (graph: string, name: string) => {
    try {
      const { workflow, version } = await versionOf(name);
      edit(renew(graph, workflow, { name, version }));
    } catch (error) {
      useWorkspace.getState().notify("error", told(error));
    }
  };
  return (
    <section>
      <h3>{words.copies}</h3>
      <ul className="list">
        {copies.map(({ graph, name, version, newest }) => (
          <li key={graph}>
            {name} <span className="quiet">{words.version(version)}</span>
            {newest > version && (
              <>
                <Against name={name} version={version} newest={newest} />
                <button className="button" onClick={() => void update(graph, name)}>
                  {words.update(newest)}
                </button>
              </>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
