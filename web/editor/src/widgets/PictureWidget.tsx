import type { ClipboardEvent, DragEvent } from "react";
import { useRef, useState } from "react";
import { fileUrl, told } from "../api/client";
import { useStrings } from "../strings";
import { shortOf } from "./filter";
import { faultProps } from "./framed";
import { IconButton } from "./IconButton";
import { ICONS } from "./icons";
import { MaskButton } from "./mask/MaskButton";
import { PickDialog } from "./PickDialog";
import { clipboardPicture, pictureIn, storePicture } from "./pictures";
import type { WidgetProps } from "./widget";

/** A picture that the workflow reads: dropped, pasted, chosen from a disk or from what the server has. */
export const PictureWidget = (props: WidgetProps) => <PictureField {...props} mask={false} />;

/** A picture that is a mask: it can be painted too. */
export const MaskWidget = (props: WidgetProps) => <PictureField {...props} mask />;

function PictureField(props: WidgetProps & { mask: boolean }) {
  const words = useStrings().widgets;
  const { id, port, value, onChange, disabled, mask } = props;
  const chooser = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState<string | null>(null);
  const [picking, setPicking] = useState(false);
  const [over, setOver] = useState(false);
  const name = typeof value === "string" ? value : typeof port.default === "string" ? port.default : "";

  const take = async (getting: () => Promise<string>) => {
    setBusy(true);
    setWrong(null);
    try {
      onChange(await getting());
    } catch (error) {
      setWrong(told(error));
    } finally {
      setBusy(false);
    }
  };
  const takeFile = (file: Blob) => take(async () => (await storePicture(file)).name);
  const fromData = (event: DragEvent | ClipboardEvent, data: DataTransfer) => {
    const picture = pictureIn(data) ?? data.files[0];
    if (!picture || disabled) return;
    event.preventDefault();
    event.stopPropagation();
    void takeFile(picture);
  };
  const paste = () =>
    take(async () => {
      const picture = await clipboardPicture();
      if (picture === null) throw new Error(words.noPictureInClipboard);
      return (await storePicture(picture)).name;
    });
  return (
    <div
      className="picture"
      data-over={over || undefined}
      aria-busy={busy}
      onPaste={(event) => fromData(event, event.clipboardData)}
      onDragOver={(event) => (event.preventDefault(), event.stopPropagation(), setOver(true))}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => (setOver(false), fromData(event, event.dataTransfer))}
    >
      <button
        id={id}
        type="button"
        className="picture-frame"
        disabled={disabled}
        title={props.fault ?? (name || words.dropHere)}
        {...faultProps(props)}
        aria-invalid={undefined}
        onClick={() => chooser.current?.click()}
      >
        {name ? <Preview key={name} name={name} /> : <span className="quiet">{busy ? words.uploading : words.dropHere}</span>}
      </button>
      <input
        ref={chooser}
        className="hidden"
        type="file"
        accept="image/*"
        tabIndex={-1}
        aria-label={words.upload}
        disabled={disabled}
        onChange={({ target }) => {
          const [file] = target.files ?? [];
          if (file) void takeFile(file);
          target.value = "";
        }}
      />
      <div className="widget-row picture-tools">
        <IconButton label={name ? words.replace : words.upload} path={ICONS.upload} disabled={disabled} onClick={() => chooser.current?.click()} />
        <IconButton label={words.paste} path={ICONS.paste} disabled={disabled} onClick={() => void paste()} />
        <IconButton label={words.pick} path={ICONS.pick} disabled={disabled} onClick={() => setPicking(true)} />
        <MaskButton {...props} mask={mask} picture={name} />
        <span className="widget-grow" />
        {name && <IconButton label={words.clear} path={ICONS.cross} disabled={disabled} onClick={() => onChange(undefined)} />}
      </div>
      {busy && name && <p className="quiet">{words.uploading}</p>}
      {wrong && (
        <p className="widget-refusal" role="alert">
          {wrong}
        </p>
      )}
      {picking && <PickDialog onClose={() => setPicking(false)} onPick={(getting) => (setPicking(false), void take(getting))} />}
    </div>
  );
}

function Preview({ name }: { name: string }) {
  const words = useStrings().widgets;
  const [size, setSize] = useState<string | null>(null);
  const [missing, setMissing] = useState(false);
  if (missing) return <span className="picture-missing">{words.missing(name)}</span>;
  return (
    <>
      <img
        src={fileUrl(name)}
        alt={words.preview(shortOf(name))}
        draggable={false}
        loading="lazy"
        onLoad={({ currentTarget: { naturalWidth, naturalHeight } }) => setSize(words.size(naturalWidth, naturalHeight))}
        onError={() => setMissing(true)}
      />
      {size && <span className="picture-size">{size}</span>}
    </>
  );
}
