import { useEffect, useRef, useState } from "react";
import type { OutputFile } from "../api/client";
import { thumbnailUrl } from "../api/client";
import type { Search } from "../store/gallery";
import { EVERYTHING, followOutputs, useGallery } from "../store/gallery";
import { fileName } from "../store/making";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { Compare, Marked } from "./Compare";
import { Lightbox } from "./Lightbox";
import { ICONS } from "./icons";

/** What jobs have saved, with a search, a closer look, and two pictures compared. */
export function ResultsPanel() {
  const words = useStrings().panels.gallery;
  const { outputs, known, search, marked, unmark } = useGallery();
  const [looked, setLooked] = useState<number | null>(null);
  const [comparing, setComparing] = useState(false);
  useEffect(followOutputs, []);
  const searching = Object.values(search).some(Boolean);
  const pair = marked.map((id) => outputs.find((output) => output.id === id)).filter((output) => output !== undefined);
  return (
    <div className="results">
      <SearchForm />
      {pair.length > 0 && <Marked count={pair.length} unmark={unmark} compare={() => setComparing(true)} />}
      {known && outputs.length === 0 && <p className="quiet">{searching ? words.nothing : words.none}</p>}
      <ul className="gallery">
        {outputs.map((output) => (
          <Thumbnail key={output.id} output={output} look={() => setLooked(output.id)} />
        ))}
      </ul>
      <More />
      {looked !== null && <Lightbox start={looked} close={() => setLooked(null)} />}
      {comparing && pair.length === 2 && (
        <Compare left={pair[0] as OutputFile} right={pair[1] as OutputFile} close={() => setComparing(false)} />
      )}
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

function Thumbnail({ output, look }: { output: OutputFile; look(): void }) {
  const words = useStrings().panels.gallery;
  const marked = useGallery((state) => state.marked.includes(output.id));
  const mark = useGallery((state) => state.mark);
  const label = words.picture(output.texts.split("\n")[0] ?? "", output.seed ?? "");
  return (
    <li className="thumbnail" data-marked={marked || undefined}>
      <button className="thumbnail-picture" aria-label={label} title={label} onClick={look}>
        {output.media.startsWith("image/") ? (
          <img src={thumbnailUrl(output.sha256)} alt="" loading="lazy" draggable={false} />
        ) : (
          <span>{fileName(output)}</span>
        )}
      </button>
      <input
        type="checkbox"
        className="thumbnail-mark"
        aria-label={`${words.mark}: ${label}`}
        title={words.mark}
        checked={marked}
        onChange={() => mark(output.id)}
      />
    </li>
  );
}

/** The next page, when its button is reached or seen. */
function More() {
  const words = useStrings().panels;
  const { next, more } = useGallery();
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!button.current) return;
    const watch = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && void more(), {
      rootMargin: "400px",
    });
    watch.observe(button.current);
    return () => watch.disconnect();
  }, [next, more]);
  if (next === null) return null;
  return (
    <button ref={button} className="button more" onClick={() => void more()}>
      {words.more}
    </button>
  );
}
