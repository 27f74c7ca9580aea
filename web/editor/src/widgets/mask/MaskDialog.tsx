import { useCallback, useMemo, useRef, useState } from "react";
import { told } from "../../api/client";
import type { Holder } from "../../document/masks";
import { addMask, masksIn, picturesIn, putMask } from "../../document/masks";
import { sure } from "../../store/question";
import { useSeen } from "../../store/seen";
import { useSpecs } from "../../store/specs";
import { useStrings } from "../../strings";
import { shortOf } from "../filter";
import { Modal } from "../Modal";
import { storePicture } from "../pictures";
import type { WidgetProps } from "../widget";
import { pngOf } from "./draw";
import { useGround } from "./ground";
import { Painter } from "./Painter";

const NEW = "";

export interface MaskProps extends WidgetProps {
  /** Whether the widget holds the mask itself, and not the picture below it. */
  mask: boolean;
  /** The picture that the widget shows. */
  picture: string;
}

/** Painting a mask over a picture of the workflow. The mask becomes a file of its own; the picture stays as it is. */
export function MaskDialog(props: MaskProps & { onClose(): void }) {
  const words = useStrings().widgets;
  const { mask, picture, node, onChange, onClose } = props;
  const workflow = useSeen((state) => state.workflow);
  const edit = useSeen((state) => state.edit);
  const specs = useSpecs();
  const pictures = useMemo(() => picturesIn(workflow, specs, node), [workflow, specs, node]);
  const masks = useMemo(() => masksIn(workflow, specs, node), [workflow, specs, node]);
  const [below, setBelow] = useState(mask ? (pictures[0]?.name ?? picture) : picture);
  const [target, setTarget] = useState(masks[0]?.node ?? NEW);
  const holder = masks.find((one) => one.node === (mask ? node : target));
  const known = mask ? picture : (holder?.name ?? "");
  const [error, setError] = useState<string | null>(null);
  const ground = useGround(below, known, holder && workflow.nodes[holder.node], setError);

  const painted = useRef(false);
  const onPainted = useCallback((some: boolean) => void (painted.current = some), []);
  const leave = async () => {
    if (!painted.current || (await sure(words.dropMaskTitle, words.dropMaskText, words.dropMask))) onClose();
  };
  const save = async (painted: HTMLCanvasElement) => {
    try {
      const { name } = await storePicture(await pngOf(painted));
      if (holder) edit(putMask(holder, name));
      else if (mask) onChange(name);
      else edit(addMask(node as string, name));
      onClose();
    } catch (error) {
      setError(told(error));
    }
  };
  const over = (
    <>
      {mask && pictures.length > 1 && (
        <Choice label={words.over} value={below} onChange={setBelow} options={pictures.map((one) => [one.name, nameOf(one)])} />
      )}
      {!mask && (
        <Choice
          label={words.goesTo}
          value={target}
          onChange={setTarget}
          options={[...masks.map((one): [string, string] => [one.node, one.node]), [NEW, words.newMaskNode]]}
        />
      )}
    </>
  );
  return (
    <Modal title={words.maskTitle} className="mask-dialog" onClose={() => void leave()}>
      {error && (
        <p className="widget-refusal" role="alert">
          {error}
        </p>
      )}
      {!below && <p className="mask-empty quiet">{words.needsPicture}</p>}
      {ground && <Painter key={ground.key} ground={ground} choices={over} onSave={save} onCancel={() => void leave()} onPainted={onPainted} />}
    </Modal>
  );
}

const nameOf = ({ node, name }: Holder) => `${node} · ${shortOf(name)}`;

interface ChoiceProps {
  label: string;
  value: string;
  options: [string, string][];
  onChange(value: string): void;
}

function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <label className="mask-choice">
      <span className="quiet">{label}</span>
      <select className="field" value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([value, name]) => (
          <option key={value} value={value}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
