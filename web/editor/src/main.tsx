import "@xyflow/react/dist/style.css";
import "./theme/theme.css";
import "./theme/controls.css";
import "./theme/shell.css";
import "./theme/canvas.css";
import "./theme/widgets.css";
import "./theme/panels.css";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { Broken } from "./shell/Broken";
import { startSession } from "./store/session";
import { Boundary } from "./widgets/Boundary";

startSession(); // not in a component: a view that fails stops no autosave
createRoot(document.getElementById("root") as HTMLElement).render(
  <Boundary of={null} instead={(error) => <Broken error={error} />}>
    <App />
  </Boundary>,
);
