import { useEffect, useState } from "react";
import type { OutputFile } from "../api/client";
import { api, fileUrl, given, thumbnailUrl, told } from "../api/client";
import { newest } from "../store/newest";
import { useStrings } from "../strings";
import { matching, shortOf } from "./filter";
import { Modal } from "./Modal";
import { storeOutput } from "./pictures";

interface Props {
  onClose(): void;
  /** Gets what to wait for: a picture that was made here is stored first. */
  onPick(getting: () => Promise<string>): void;
}

type Place = "made" | "stored";

const WAIT_MS = 250;
const PAGE = 60;

/** Pictures that the server has: those that were made here, and those in the input folder. */
export function PickDialog({ onClose, onPick }: Props) {
  const words = useStrings().widgets;
  const [place, setPlace] = useState<Place>("made");
  const [query, setQuery] = useState("");
  const [error, setError] = useState<string | null>(null);
  const fail = (error: unknown) => setError(told(error));
  const Pictures = place === "made" ? Made : InFolder;
  return (
    <Modal title={words.pickTitle} className="pick" onClose={onClose}>
      <div className="pick-bar">
        <div className="segments" role="group" aria-label={words.pickTitle}>
          {(["made", "stored"] as const).map((one) => (
            <button key={one} type="button" className="segment" aria-pressed={place === one} onClick={() => (setPlace(one), setQuery(""))}>
              {words[one]}
            </button>
          ))}
        </div>
        <input
          className="field"
          type="search"
          value={query}
          aria-label={place === "made" ? words.searchPictures : words.searchFiles}
          placeholder={place === "made" ? words.searchPictures : words.searchFiles}
          onChange={(event) => setQuery(event.target.value)}
        />
      </div>
      {error && (
        <p className="widget-refusal" role="alert">
          {error}
        </p>
      )}
      <Pictures query={query} onPick={onPick} onError={fail} />
    </Modal>
  );
}

interface PlaceProps {
  query: string;
  onPick: Props["onPick"];
  onError(error: unknown): void;
}

function Made({ query, onPick, onError }: PlaceProps) {
  const [outputs, setOutputs] = useState<OutputFile[] | null>(null);
  const [next, setNext] = useState<number | null>(null);
  const [read] = useState(newest);
  const load = async (before?: number) => {
    const asked = { q: query || undefined, before, limit: PAGE };
    await read(given(api.GET("/api/v1/outputs", { params: { query: asked } })), (page) => {
      const pictures = page.outputs.filter(({ media }) => media.startsWith("image/"));
      setOutputs((known) => (before === undefined ? pictures : [...(known ?? []), ...pictures]));
      setNext(page.next);
    });
  };
  useEffect(() => {
    const timer = setTimeout(() => load().catch(onError), query ? WAIT_MS : 0);
    return () => clearTimeout(timer);
  }, [query]);
  return (
    <Tiles
      tiles={outputs?.map(({ sha256, path }) => ({ key: sha256, name: path, url: thumbnailUrl(sha256), get: async () => (await storeOutput(sha256)).name }))}
      onPick={onPick}
      onMore={next === null ? undefined : () => void load(next).catch(onError)}
    />
  );
}

function InFolder({ query, onPick, onError }: PlaceProps) {
  const [files, setFiles] = useState<string[] | null>(null);
  const [limit, setLimit] = useState(PAGE);
  useEffect(() => {
    given(api.GET("/api/v1/files")).then(({ files }) => setFiles(files), onError);
  }, []);
  const found = files && matching(files, query);
  return (
    <Tiles
      tiles={found?.slice(0, limit).map((name) => ({ key: name, name, url: fileUrl(name), get: async () => name }))}
      onPick={onPick}
      onMore={found && found.length > limit ? () => setLimit(limit + PAGE) : undefined}
    />
  );
}

interface Tile {
  key: string;
  name: string;
  url: string;
  get(): Promise<string>;
}

function Tiles({ tiles, onPick, onMore }: { tiles?: Tile[] | null; onPick: Props["onPick"]; onMore?: () => void }) {
  const words = useStrings().widgets;
  return (
    <div className="pick-body">
      {tiles?.length === 0 && <p className="quiet">{words.noPictures}</p>}
      <ul className="pick-tiles">
        {tiles?.map(({ key, name, url, get }) => (
          <li key={key}>
            <button type="button" className="pick-tile" title={name} onClick={() => onPick(get)}>
              <img src={url} alt="" loading="lazy" />
              <span>{shortOf(name)}</span>
            </button>
          </li>
        ))}
      </ul>
      {onMore && (
        <button type="button" className="button" onClick={onMore}>
          {words.more}
        </button>
      )}
    </div>
  );
}
