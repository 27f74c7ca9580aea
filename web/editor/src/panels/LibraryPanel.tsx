import { useEffect, useState } from "react";
import { clock } from "../api/clock";
import type { Schemas } from "../api/client";
import { appUrl, told } from "../api/client";
import { insertSaved } from "../canvas/actions";
import { dropDraft, loadDrafts, openDraft, useDrafts } from "../store/drafts";
import {
  duplicateWorkflow,
  loadLibrary,
  openWorkflow,
  removeWorkflow,
  renameWorkflow,
  save,
  saveAs,
  useLibrary,
} from "../store/library";
import { sure } from "../store/question";
import { useActive, useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { Copies } from "./Copies";
import { TemplateCards } from "./Templates";
import { Versions } from "./Versions";
import { ICONS } from "./icons";

type Info = Schemas["WorkflowInfo"];

/** Saved workflows with their versions, drafts, templates. */
export function LibraryPanel() {
  const words = useStrings().panels.library;
  const { own, known } = useLibrary();
  const tab = useActive();
  useEffect(() => {
    Promise.all([loadLibrary(), loadDrafts()]).catch((error) => useWorkspace.getState().notify("error", told(error)));
  }, []);
  return (
    <div className="library">
      <div className="toolbar">
        <button className="button button-primary" onClick={() => void save(tab)}>
          {words.save}
        </button>
        <button className="button" onClick={() => void saveAs(tab)}>
          {words.saveAs}
        </button>
      </div>
      <section>
        <h3>{words.yours}</h3>
        {known && own.length === 0 && <p className="quiet">{words.none}</p>}
        <ul className="list">
          {own.map((info) => (
            <SavedOne key={info.name} info={info} />
          ))}
        </ul>
      </section>
      <Copies />
      <Drafts />
      <section>
        <h3>{words.templates}</h3>
        <TemplateCards small />
      </section>
    </div>
  );
}

function SavedOne({ info }: { info: Info }) {
  const words = useStrings().panels.library;
  const { shell } = useStrings();
  const ago = useStrings().panels.ago;
  const [open, setOpen] = useState(false);
  const [versions, setVersions] = useState(false);
  const action = (label: string, work: () => void) => (
    <button className="button-plain" onClick={() => (setOpen(false), work())}>
      {label}
    </button>
  );
  return (
    <li className="saved">
      <div className="saved-head">
        <button className="saved-name" onClick={() => void openWorkflow(info.name)}>
          {info.name}
          <span className="quiet">
            {words.version(info.version)} · {ago(clock.now() - (info.saved ?? 0))}
          </span>
        </button>
        <button className="button-icon" aria-label={words.menu(info.name)} aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon path={ICONS.more} />
        </button>
      </div>
      {open && (
        <div className="saved-actions">
          {action(words.rename, () => void renameWorkflow(info))}
          {action(words.duplicate, () => void duplicateWorkflow(info))}
          <a className="button-plain" href={appUrl(info.name)} target="_blank" rel="noreferrer" onClick={() => setOpen(false)}>
            {shell.openApp}
          </a>
          {action(words.insert, () => void insertSaved(info.name))}
          {action(words.versions, () => setVersions(!versions))}
          {action(words.remove, () => void removeWorkflow(info))}
        </div>
      )}
      {versions && <Versions key={info.version} name={info.name} newest={info.version} />}
    </li>
  );
}

function Drafts() {
  const words = useStrings().panels.library;
  const { ago } = useStrings().panels;
  const drafts = useDrafts((state) => state.drafts);
  if (drafts.length === 0) return null;
  return (
    <section>
      <h3>{words.drafts}</h3>
      <p className="quiet">{words.draftsHint}</p>
      <ul className="list">
        {drafts.map((draft) => (
          <li key={draft.id} className="saved-head">
            <button className="saved-name" onClick={() => void openDraft(draft.id)}>
              {draft.name}
              <span className="quiet">{ago(clock.now() - draft.saved)}</span>
            </button>
            <button
              className="button-icon"
              title={words.remove}
              aria-label={words.removeDraft(draft.name)}
              onClick={() => void askThenDrop(draft.id, words)}
            >
              <Icon path={ICONS.remove} size={15} />
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

async function askThenDrop(id: string, words: ReturnType<typeof useStrings>["panels"]["library"]) {
  if (await sure(words.removeDraftTitle, words.removeDraftText, words.remove)) await dropDraft(id);
}
