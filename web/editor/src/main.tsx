import "@xyflow/react/dist/style.css";
import "./theme/theme.css";
import "./theme/controls.css";
import "./theme/shell.css";
import "./theme/canvas.css";
import "./theme/widgets.css";
import "./theme/panels.css";
import { createRoot } from "react-dom/client";
import { App } from "./App";

createRoot(document.getElementById("root") as HTMLElement).render(<App />);
