import type { OutputFile } from "../api/client";
import { reveal } from "../canvas/reveal";
import { useGallery } from "../store/gallery";
import { openMaking, recallInto, savePicture, saveWorkflow, takeAsInput } from "../store/making";
import { useStrings } from "../strings";
import type { ActionsProps } from "./Lightbox";
import { askThenRemove } from "./Selected";

/** What the editor can do with a picture. */
export function PictureActions({ output, close, leave }: ActionsProps) {
  const words = useStrings().panels.gallery;
  const outputs = useGallery((state) => state.outputs);
  const andClose = (work: (output: OutputFile) => Promise<void>) => () => void work(output).then(close);
  const asInput = async (output: OutputFile) => {
    const node = await takeAsInput(output);
    if (node) requestAnimationFrame(() => reveal(node));
  };
  const remove = () => askThenRemove([output], () => (outputs.length > 1 ? leave() : close()));
  const parts = [
    ["prompt", words.recallPrompt],
    ["seed", words.recallSeed],
    ["all", words.recallAll],
  ] as const;
  return (
    <div className="lightbox-actions">
      <button className="button button-primary" onClick={andClose(openMaking)}>
        {words.open}
      </button>
      <div className="lightbox-recall" role="group" aria-label={words.recall}>
        <span className="quiet">{words.recall}</span>
        {parts.map(([part, label]) => (
          <button key={part} className="button" onClick={andClose((one) => recallInto(one, part))}>
            {label}
          </button>
        ))}
      </div>
      <button className="button" onClick={andClose(asInput)}>
        {words.asInput}
      </button>
      <button className="button" onClick={() => savePicture(output)}>
        {words.savePicture}
      </button>
      <button className="button" onClick={() => void saveWorkflow(output)}>
        {words.saveWorkflow}
      </button>
      <button className="button button-danger" onClick={() => void remove()}>
        {words.remove}
      </button>
    </div>
  );
}
