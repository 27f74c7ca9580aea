import { useEffect, useState } from "react";
import { useStore } from "zustand";
import type { OutputFile } from "../api/client";
import { BASE, thumbnailUrl, told } from "../api/client";
import { ProblemList } from "../canvas/ProblemList";
import { FormFields } from "../panels/FormFields";
import { FormResult, FormRun } from "../panels/FormRun";
import type { ActionsProps } from "../panels/Lightbox";
import { Lightbox } from "../panels/Lightbox";
import { More } from "../panels/More";
import { QuestionDialog } from "../panels/QuestionDialog";
import { askThenRemove } from "../panels/Selected";
import { useAppearance } from "../settings/appearance";
import { followApp, openApp, resetApp, tagOf } from "../store/app";
import { useDocument } from "../store/document";
import { useGallery } from "../store/gallery";
import { fileName, recallInto, savePicture } from "../store/making";
import { runTab } from "../store/running";
import { useRuns } from "../store/runs";
import { activeTab, useActive, useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { chordOf, composes } from "../widgets/keys";
import { Notices } from "./Notices";
import { Preferences } from "./Preferences";
import { useTitle } from "./title";

/** A saved workflow as a page of its own: its form, the result beside it, and what its runs have made. */
export function AppPage({ name }: { name: string }) {
  useTitle(name);
  const [state, setState] = useState<"opening" | "open" | Error>("opening");
  useAppearance();
  useEffect(() => {
    let stop = () => {};
    openApp(name).then(
      (end) => ((stop = end), setState("open")),
      (error: Error) => setState(error),
    );
    return () => stop();
  }, [name]);
  return (
    <div className="app-page">
      <Head name={name} />
      {state === "open" && <Opened name={name} />}
      {state instanceof Error && (
        <p className="app-fault" role="alert">
          {told(state)}
        </p>
      )}
      <Preferences />
      <QuestionDialog />
      <Notices />
    </div>
  );
}

function Head({ name }: { name: string }) {
  const words = useStrings().shell;
  const connected = useRuns((state) => state.connected);
  const ask = useWorkspace((state) => state.ask);
  return (
    <header className="app-head">
      <h1>{name}</h1>
      <span role="status" data-connected={connected} className="quiet">
        {connected === null ? words.connecting : connected ? "" : words.away}
      </span>
      <a className="button" href={BASE.href}>
        {words.editor}
      </a>
      <button className="button-icon" title={words.preferences} aria-label={words.preferences} onClick={() => ask("preferences")}>
        <Icon path="M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4" />
      </button>
    </header>
  );
}

function Opened({ name }: { name: string }) {
  const words = useStrings().shell;
  const none = useDocument((state) => state.workflow.inputs.length === 0);
  const order = { tags: [tagOf(name)] };
  const run = (event: React.KeyboardEvent) => {
    if (chordOf(event.nativeEvent) !== "Mod+Enter" || composes(event)) return;
    event.preventDefault();
    void runTab(activeTab(), 1, order);
  };
  const toResult = () => document.querySelector(".app-result .form-result")?.scrollIntoView({ block: "nearest" });
  return (
    <main className="app-main" onKeyDown={run}>
      <section className="app-form" aria-label={words.inputs}>
        {none && <p className="quiet">{words.noInputs}</p>}
        <FormFields helped />
        <OtherProblems />
        <Tools />
        <FormRun order={order} ran={toResult} />
      </section>
      <div className="app-result">
        <FormResult />
        <History name={name} />
      </div>
    </main>
  );
}

/** Back to what the workflow was saved with. */
function Tools() {
  const words = useStrings().shell;
  const changed = useDocument((state) => state.saved !== state.workflow);
  const { document } = useActive();
  const back = useStore(document.temporal, (state) => state.pastStates.length > 0);
  return (
    <div className="toolbar">
      <button className="button-link" disabled={!changed} onClick={resetApp}>
        {words.reset}
      </button>
      <button className="button-link" disabled={!back} onClick={() => document.temporal.getState().undo()}>
        {words.undo}
      </button>
    </div>
  );
}

/** What is wrong with the workflow beyond the values that the form shows. */
function OtherProblems() {
  const problems = useDocument((state) => state.checked.problems);
  const inputs = useDocument((state) => state.workflow.inputs);
  const shown = inputs.flatMap(({ to }) => to.map(({ node, input }) => `${node}.${input}`));
  return <ProblemList problems={problems.filter(({ node, input }) => !shown.includes(`${node}.${input}`))} />;
}

/** What this page's runs have saved, the newest first. */
function History({ name }: { name: string }) {
  const words = useStrings();
  const { outputs } = useGallery();
  const [looked, setLooked] = useState<number | null>(null);
  useEffect(() => followApp(name), [name]);
  if (outputs.length === 0) return null;
  return (
    <section className="app-history" aria-label={words.shell.history}>
      <h2>{words.shell.history}</h2>
      <ul className="gallery">
        {outputs.map((output) => (
          <Made key={output.id} output={output} look={() => setLooked(output.id)} />
        ))}
      </ul>
      <More />
      {looked !== null && <Lightbox start={looked} close={() => setLooked(null)} actions={Actions} />}
    </section>
  );
}

function Made({ output, look }: { output: OutputFile; look(): void }) {
  const words = useStrings().panels.gallery;
  const label = words.picture(output.texts.split("\n")[0] ?? "", output.seed ?? "");
  return (
    <li className="thumbnail">
      <button className="thumbnail-picture" aria-label={label} title={label} onClick={look}>
        {output.media.startsWith("image/") ? <img src={thumbnailUrl(output.sha256)} alt="" loading="lazy" /> : fileName(output)}
      </button>
    </li>
  );
}

function Actions({ output, close, leave }: ActionsProps) {
  const words = useStrings();
  const many = useGallery((state) => state.outputs.length > 1);
  return (
    <div className="lightbox-actions">
      <button className="button button-primary" onClick={() => void recallInto(output, "form").then(close)}>
        {words.shell.useValues}
      </button>
      <button className="button" onClick={() => savePicture(output)}>
        {words.panels.gallery.savePicture}
      </button>
      <button className="button button-danger" onClick={() => void askThenRemove([output], many ? leave : close)}>
        {words.panels.gallery.remove}
      </button>
    </div>
  );
}
