import type { KeyboardEvent, MouseEvent } from "react";
import { useEffect, useRef, useState } from "react";
import type { OutputFile } from "../api/client";
import { thumbnailUrl } from "../api/client";
import type { Search } from "../store/gallery";
import { EVERYTHING, followOutputs, useGallery } from "../store/gallery";
import { fileName } from "../store/making";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { chordOf, composes } from "../widgets/keys";
import { Compare } from "./Compare";
import { Lightbox } from "./Lightbox";
import { More } from "./More";
import { PictureActions } from "./PictureActions";
import { Selected, askThenRemove } from "./Selected";
import { ICONS } from "./icons";

/** What jobs have saved, with a search, a closer look, and two pictures compared. */
export function ResultsPanel() {
  const words = useStrings().panels.gallery;
  const { outputs, known, search, selected } = useGallery();
  const [looked, setLooked] = useState<number | null>(null);
  const [comparing, setComparing] = useState(false);
  useEffect(followOutputs, []);
  const searching = Object.values(search).some(Boolean);
  const chosen = outputs.filter(({ id }) => selected.includes(id));
  const [left, right] = chosen;
  return (
    <div className="results">
      <SearchForm />
      {chosen.length > 0 && <Selected chosen={chosen} compare={() => setComparing(true)} />}
      {known && outputs.length === 0 && <p className="quiet">{searching ? words.nothing : words.none}</p>}
      <ul className="gallery" data-keys={KEYS} onKeyDown={(event) => galleryKey(event, chosen)}>
        {outputs.map((output) => (
          <Thumbnail key={output.id} output={output} look={() => setLooked(output.id)} />
        ))}
      </ul>
      <More />
      {looked !== null && <Lightbox start={looked} close={() => setLooked(null)} actions={PictureActions} />}
      {comparing && left && right && <Compare left={left} right={right} close={() => setComparing(false)} />}
    </div>
  );
}

const TYPED_MS = 250;

function SearchForm() {
  const words = useStrings().panels.gallery;
  const { search, find } = useGallery();
  const [typed, setTyped] = useState(search);
  const [filters, setFilters] = useState(Boolean(search.model || search.seed || search.tag));
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setTyped(search), [search]);
  const change = (part: Partial<Search>) => {
    const next = { ...typed, ...part };
    setTyped(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => void find(next), TYPED_MS);
  };
  const field = (name: "model" | "seed" | "tag") => (
    <label>
      {words[name]}
      <input className="field" value={typed[name]} onChange={(event) => change({ [name]: event.target.value })} />
    </label>
  );
  return (
    <search className="gallery-search">
      <div className="toolbar">
        <input
          type="search"
          className="field"
          aria-label={words.search}
          placeholder={words.search}
          value={typed.q}
          onChange={(event) => change({ q: event.target.value })}
        />
        <button
          className="button-icon"
          title={words.filters}
          aria-label={words.filters}
          aria-expanded={filters}
          aria-pressed={filters}
          onClick={() => setFilters(!filters)}
        >
          <Icon path={ICONS.filter} size={16} />
        </button>
      </div>
      {filters && (
        <div className="filters">
          {field("model")}
          {field("seed")}
          {field("tag")}
        </div>
      )}
      {search.job && (
        <p className="banner">
          {words.ofJob}{" "}
          <button className="button-link" onClick={() => void find(EVERYTHING)}>
            {words.clear}
          </button>
        </p>
      )}
    </search>
  );
}

/** Keys for the pictures: all, none, and the trash. */
const KEYS = "Mod+A Escape Delete Backspace";

function galleryKey(event: KeyboardEvent, chosen: readonly OutputFile[]) {
  const { selectAll, deselect } = useGallery.getState();
  const chord = chordOf(event.nativeEvent);
  if (!KEYS.split(" ").includes(chord) || composes(event)) return;
  event.preventDefault();
  if (chord === "Mod+A") selectAll();
  else if (chord === "Escape") deselect();
  else if (chosen.length) void askThenRemove(chosen);
}

function Thumbnail({ output, look }: { output: OutputFile; look(): void }) {
  const words = useStrings().panels.gallery;
  const selected = useGallery((state) => state.selected.includes(output.id));
  const select = useGallery((state) => state.select);
  const label = words.picture(output.texts.split("\n")[0] ?? "", output.seed ?? "");
  const click = (event: MouseEvent) => {
    if (event.shiftKey) select(output.id, "range");
    else if (event.ctrlKey || event.metaKey) select(output.id);
    else look();
  };
  return (
    <li className="thumbnail" data-selected={selected || undefined}>
      <button className="thumbnail-picture" aria-label={label} title={label} onClick={click}>
        {output.media.startsWith("image/") ? (
          <img src={thumbnailUrl(output.sha256)} alt="" loading="lazy" draggable={false} />
        ) : (
          <span>{fileName(output)}</span>
        )}
      </button>
      <label className="thumbnail-mark" title={words.select}>
        <input
          type="checkbox"
          aria-label={`${words.select}: ${label}`}
          checked={selected}
          onChange={({ nativeEvent }) => select(output.id, (nativeEvent as globalThis.MouseEvent).shiftKey ? "range" : "toggle")}
        />
      </label>
    </li>
  );
}
