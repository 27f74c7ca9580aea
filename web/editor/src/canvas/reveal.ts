import { activeTab } from "../store/workspace";
import { boxesOf, useCanvas } from "./state";

/** Select a node, bring it into view, and put the focus on it or on one of its inputs. */
export function reveal(node: string, input?: string | null) {
  const { flow } = useCanvas.getState();
  const box = boxesOf([node]).get(node);
  if (!flow || !box) return;
  activeTab().document.getState().select([node]);
  const zoom = Math.max(flow.getZoom(), 0.8);
  void flow.setCenter(box.x + box.width / 2, box.y + box.height / 2, { zoom, duration: 250 });
  setTimeout(() => {
    const field = input ? document.getElementById(`${node}-${input}`) : null;
    (field ?? document.querySelector<HTMLElement>(`.react-flow__node[data-id="${CSS.escape(node)}"]`))?.focus();
  }, 300);
}
