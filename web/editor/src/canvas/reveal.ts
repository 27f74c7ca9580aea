import { graphsAlong, levelAt } from "../document/levels";
import { pathOf } from "../store/opened";
import { activeTab } from "../store/workspace";
import { goTo } from "./actions";
import { boxesOf, glide, useCanvas } from "./state";

/** Select a node, bring it into view, and put the focus on it or on one of its inputs. `use/node` stands inside a sub-workflow, which is opened. */
export function reveal(where: string, input?: string | null) {
  const ids = where.split("/");
  const state = activeTab().document.getState();
  const path = ids.slice(0, graphsAlong(state.workflow, ids.slice(0, -1)).length);
  const node = ids[path.length] as string;
  const field = path.length === ids.length - 1 ? input : null;
  if (path.join("/") !== pathOf(state).join("/")) {
    goTo(path);
    state.set({ viewport: null }); // all of the level is shown, and so the node
  }
  if (!(node in levelAt(state.workflow, path).nodes)) return;
  state.select([node]);
  whenThere(() => centre(node));
  setTimeout(() => {
    const found = field ? document.getElementById(`${node}-${field}`) : null;
    (found ?? document.querySelector<HTMLElement>(`.react-flow__node[data-id="${CSS.escape(node)}"]`))?.focus();
  }, 300);
}

/** A node that was made just now comes to the canvas some frames later. */
function whenThere(done: () => boolean, frames = 120) {
  if (!done() && frames > 0) requestAnimationFrame(() => whenThere(done, frames - 1));
}

function centre(node: string): boolean {
  const { flow } = useCanvas.getState();
  const box = boxesOf([node]).get(node);
  if (!flow || !box) return false;
  const zoom = Math.max(flow.getZoom(), 0.8);
  void flow.setCenter(box.x + box.width / 2, box.y + box.height / 2, { zoom, duration: glide() });
  return true;
}
