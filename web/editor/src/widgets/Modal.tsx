import type { ReactNode, SyntheticEvent } from "react";
import { createPortal } from "react-dom";
import { useStrings } from "../strings";
import { IconButton } from "./IconButton";
import { ICONS } from "./icons";
import { useModal } from "./useModal";

interface Props {
  title: string;
  className?: string;
  onClose(): void;
  children: ReactNode;
}

const stay = (event: SyntheticEvent) => event.stopPropagation();

/** A dialog of a widget. Nothing that happens in it reaches the canvas that the widget stands on. */
export function Modal({ title, className = "", onClose, children }: Props) {
  const words = useStrings().widgets;
  const [dialog, keys] = useModal(onClose);
  return createPortal(
    <dialog
      ref={dialog}
      className={`dialog ${className}`}
      aria-label={title}
      onCancel={keys.onCancel}
      onKeyDown={(event) => (stay(event), keys.onKeyDown(event))}
      onPointerDown={stay}
      onMouseDown={stay}
      onClick={stay}
      onDoubleClick={stay}
      onContextMenu={stay}
      onPaste={stay}
      onDrop={stay}
    >
      <header className="panel-head">
        <h2>{title}</h2>
        <IconButton label={words.close} path={ICONS.cross} onClick={onClose} />
      </header>
      {children}
    </dialog>,
    document.body,
  );
}
