import { Icon } from "../theme/Icon";

interface Props {
  label: string;
  /** Path data of a 20x20 outline icon. */
  path: string;
  onClick(): void;
  pressed?: boolean;
  disabled?: boolean;
}

/** A small button of a widget: an icon, with its words for those who hover or listen. */
export function IconButton({ label, path, onClick, pressed, disabled }: Props) {
  return (
    <button
      type="button"
      className="button-icon widget-button"
      title={label}
      aria-label={label}
      aria-pressed={pressed}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon path={path} size={15} />
    </button>
  );
}
