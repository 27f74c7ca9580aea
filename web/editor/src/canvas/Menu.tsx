import { useEffect, useRef } from "react";
import { useSeen } from "../store/seen";
import { useStrings } from "../strings";
import { ACTIONS, applies } from "./actions";
import { shownKeys } from "../widgets/keys";
import { useFocusBack } from "../widgets/useModal";
import { useCanvas } from "./state";

/** The menu of what can be done with the selection. */
export function Menu() {
  const at = useCanvas((state) => state.menu);
  return at && <Actions x={at.x} y={at.y} />;
}

function Actions({ x, y }: { x: number; y: number }) {
  const words = useStrings().canvas;
  const selection = useSeen((state) => state.selection);
  const set = useCanvas((state) => state.set);
  const list = useRef<HTMLDivElement>(null);
  const close = () => set({ menu: null });
  useFocusBack();

  useEffect(() => {
    const menu = list.current;
    if (!menu) return;
    const { width, height } = menu.getBoundingClientRect();
    menu.style.left = `${Math.min(x, innerWidth - width - 8)}px`;
    menu.style.top = `${Math.min(y, innerHeight - height - 8)}px`;
    menu.querySelector("button")?.focus();
  }, [x, y]);

  const move = (step: number) => {
    const buttons = [...(list.current?.querySelectorAll("button") ?? [])];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    buttons.at((at + step) % buttons.length)?.focus();
  };

  return (
    <div className="veil" onPointerDown={(event) => event.target === event.currentTarget && close()} onContextMenu={(event) => (event.preventDefault(), close())}>
      <div
        ref={list}
        className="menu"
        role="menu"
        aria-label={words.menu}
        onKeyDown={(event) => {
          if (event.key === "Escape" || event.key === "Tab") close();
          if (event.key === "ArrowDown") move(1);
          if (event.key === "ArrowUp") move(-1);
        }}
      >
        {ACTIONS.filter((action) => action.menu && applies(action, selection)).map((action) => (
          <button key={action.id} role="menuitem" onClick={() => (close(), action.run())}>
            <span>{words.actions[action.id]}</span>
            <kbd>{shownKeys(action.keys[0] ?? "")}</kbd>
          </button>
        ))}
      </div>
    </div>
  );
}
