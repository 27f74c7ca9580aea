import type { OutputFile } from "../api/client";
import { useGallery } from "../store/gallery";
import { saveArchive } from "../store/making";
import { ask, sure } from "../store/question";
import { strings, useStrings } from "../strings";

/** What can be done with the selected pictures. */
export function Selected({ chosen, compare }: { chosen: readonly OutputFile[]; compare(): void }) {
  const words = useStrings().panels.gallery;
  const { selectAll, deselect } = useGallery.getState();
  return (
    <div className="banner selection-bar">
      <span role="status" title={words.selectHelp}>
        {words.selected(chosen.length)}
      </span>
      <button className="button-link" onClick={selectAll}>
        {words.selectAll}
      </button>
      <button className="button-link" onClick={deselect}>
        {words.deselect}
      </button>
      <div className="selection-bar-actions">
        <button className="button" disabled={chosen.length !== 2} title={words.compareHint} onClick={compare}>
          {words.compare}
        </button>
        <button className="button" onClick={() => void askForTags(chosen)}>
          {words.addTag}
        </button>
        <button className="button" onClick={() => void saveArchive(chosen)}>
          {words.saveZip}
        </button>
        <button className="button button-danger" onClick={() => void askThenRemove(chosen)}>
          {words.remove}
        </button>
      </div>
    </div>
  );
}

/** Move pictures to the trash if that is what is wanted; tells whether it was. */
export async function askThenRemove(outputs: readonly OutputFile[], before = () => {}): Promise<boolean> {
  const words = strings().panels.gallery;
  if (!(await sure(words.removeTitle(outputs.length), words.removeText, words.remove))) return false;
  before();
  await useGallery.getState().remove(outputs);
  return true;
}

async function askForTags(outputs: readonly OutputFile[]) {
  const words = strings().panels.gallery;
  const answer = await ask({
    title: words.tagTitle(outputs.length),
    field: { label: words.tagField, value: "" },
    choices: [
      { id: "add", label: words.tagAdd, kind: "primary" },
      { id: "remove", label: words.tagRemove },
    ],
  });
  if (answer) await useGallery.getState().tag(outputs, { [answer.choice]: tagsIn(answer.text) });
}

/** The tags in a text, separated by commas of either script. */
export const tagsIn = (text: string): string[] => [...new Set(text.split(/[,，、]/).map((tag) => tag.trim()).filter(Boolean))];
