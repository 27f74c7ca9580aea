import type { ComponentType, Ref } from "react";
import { useEffect, useRef, useState } from "react";
import type { OutputFile } from "../api/client";
import { contentUrl } from "../api/client";
import { useSettings } from "../settings/settings";
import { useGallery } from "../store/gallery";
import type { Facts } from "../store/making";
import { factsOf, fileName } from "../store/making";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { useModal } from "../widgets/useModal";
import { ICONS } from "./icons";
import type { Zooming } from "./ZoomedPicture";
import { ZoomedPicture } from "./ZoomedPicture";

export interface ActionsProps {
  output: OutputFile;
  /** Ends the dialog. */
  close(): void;
  /** Goes on to a neighbour, before the picture is gone. */
  leave(): void;
}

interface LightboxProps {
  /** The id of the picture that is shown first. */
  start: number;
  close(): void;
  /** What can be done with the picture. */
  actions: ComponentType<ActionsProps>;
}

/** One picture as large as the window allows or zoomed, with what made it; the arrow keys go to its neighbours. */
export function Lightbox({ start, close, actions: Actions }: LightboxProps) {
  const words = useStrings().panels.gallery;
  const { outputs, next, more } = useGallery();
  const [id, setId] = useState(start);
  const [dialog, keys] = useModal(close);
  const zooming = useRef<Zooming>(null);
  const at = outputs.findIndex((output) => output.id === id);
  const output = outputs[at];
  useEffect(() => void (at >= outputs.length - 2 && more()), [at, outputs.length, more]);
  if (!output) return null;
  const go = (by: number) => {
    const there = outputs[at + by];
    if (there) setId(there.id);
  };
  return (
    <dialog
      ref={dialog}
      className="dialog lightbox"
      aria-label={words.picture(output.texts.split("\n")[0] ?? "", output.seed ?? "")}
      onCancel={keys.onCancel}
      onKeyDown={(event) => {
        keys.onKeyDown(event);
        if (!event.ctrlKey && !event.metaKey && !event.altKey && zooming.current?.press(event.key, event.shiftKey)) return;
        if (event.key === "ArrowLeft") go(-1);
        if (event.key === "ArrowRight") go(1);
      }}
    >
      <div className="lightbox-stage">
        <Shown key={output.id} output={output} zooming={zooming} />
        <Arrow side="left" label={words.previous} disabled={at === 0} onClick={() => go(-1)} />
        <Arrow side="right" label={words.next} disabled={at === outputs.length - 1} onClick={() => go(1)} />
      </div>
      <aside className="lightbox-side">
        <header>
          <span className="quiet">{words.position(at + 1, `${outputs.length}${next === null ? "" : "+"}`)}</span>
          <button className="button-icon" aria-label={words.close} onClick={close}>
            <Icon path={ICONS.close} />
          </button>
        </header>
        <Details key={output.id} output={output} />
        <Actions output={output} close={close} leave={() => go(at === outputs.length - 1 ? -1 : 1)} />
      </aside>
    </dialog>
  );
}

export function Shown({ output, zooming }: { output: OutputFile; zooming: Ref<Zooming> }) {
  const { media, sha256, width, height, texts } = output;
  if (!media.startsWith("image/") || !width || !height) return <p>{fileName(output)}</p>;
  return <ZoomedPicture ref={zooming} url={contentUrl(sha256)} alt={texts.split("\n")[0] || fileName(output)} size={{ width, height }} />;
}

interface ArrowProps {
  side: "left" | "right";
  label: string;
  disabled: boolean;
  onClick(): void;
}

export function Arrow({ side, label, disabled, onClick }: ArrowProps) {
  return (
    <button className={`lightbox-arrow lightbox-${side}`} aria-label={label} disabled={disabled} onClick={onClick}>
      <Icon path={ICONS[side]} size={24} />
    </button>
  );
}

function Details({ output }: { output: OutputFile }) {
  const words = useStrings().panels;
  const language = useSettings((state) => state.language);
  const [facts, setFacts] = useState<Facts | null>(null);
  useEffect(() => void factsOf(output).then(setFacts), [output]);
  const { record, seconds } = facts ?? { record: {}, seconds: null };
  const device = ["device", "dtype"].flatMap((name) => (record[name] ? [String(record[name])] : [])).join(", ");
  const rows: [string, string][] = [
    [words.gallery.prompt, output.texts],
    [words.gallery.seed, output.seed ?? ""],
    [words.gallery.models, output.models.join(", ")],
    [words.gallery.size, output.width ? `${output.width} × ${output.height}` : ""],
    [words.gallery.workflow, output.workflow],
    [words.gallery.tags, output.tags.join(", ")],
    [words.gallery.made, new Date(output.created * 1000).toLocaleString(language)],
    [words.gallery.seconds, seconds === null ? "" : words.jobs.took(seconds)],
    [words.gallery.device, device],
    [words.gallery.file, output.path],
  ];
  return (
    <dl className="facts" tabIndex={0}>
      {rows.map(([name, text]) =>
        text === "" ? null : (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </div>
        ),
      )}
    </dl>
  );
}
