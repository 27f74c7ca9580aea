import "@xyflow/react/dist/style.css";
import "./theme/theme.css";
import "./theme/controls.css";
import "./theme/shell.css";
import "./theme/canvas.css";
import "./theme/widgets.css";
import "./theme/panels.css";
import "./theme/app.css";
import { lazy, Suspense } from "react";
import { createRoot } from "react-dom/client";
import { appOf } from "./api/client";
import { Broken } from "./shell/Broken";
import { startServices, startSession } from "./store/session";
import { Boundary } from "./widgets/Boundary";

const Editor = lazy(async () => ({ default: (await import("./App")).App }));
const AppPage = lazy(async () => ({ default: (await import("./shell/AppPage")).AppPage }));

const app = appOf(location.pathname);
if (app === null) startSession(); // not in a component: a view that fails stops no autosave
else startServices();
createRoot(document.getElementById("root") as HTMLElement).render(
  <Boundary of={null} instead={(error) => <Broken error={error} />}>
    <Suspense>{app === null ? <Editor /> : <AppPage name={app} />}</Suspense>
  </Boundary>,
);
