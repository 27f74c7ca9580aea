import { useState } from "react";
import { useCatalog } from "../../store/catalog";
import { useStrings } from "../../strings";
import { IconButton } from "../IconButton";
import { ICONS } from "../icons";
import type { MaskProps } from "./MaskDialog";
import { MaskDialog } from "./MaskDialog";

/** Opens the painting of a mask: for the mask that a widget holds, or over the picture that it holds. */
export function MaskButton(props: MaskProps) {
  const words = useStrings().widgets;
  const [open, setOpen] = useState(false);
  const canMask = useCatalog((state) => state.specs.has("LoadMask"));
  if (!props.mask && (!canMask || props.node === undefined)) return null;
  return (
    <>
      <IconButton
        label={words.paintMask}
        path={ICONS.mask}
        disabled={props.disabled || (!props.mask && !props.picture)}
        onClick={() => setOpen(true)}
      />
      {open && <MaskDialog {...props} onClose={() => setOpen(false)} />}
    </>
  );
}
