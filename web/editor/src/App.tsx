import { ReactFlowProvider } from "@xyflow/react";
import { Canvas } from "./canvas/Canvas";
import { Menu } from "./canvas/Menu";
import { dropArea } from "./canvas/files";
import { Palette } from "./canvas/Palette";
import { useShortcuts } from "./canvas/shortcuts";
import { isBlank } from "./document/types";
import { QuestionDialog } from "./panels/QuestionDialog";
import { Templates } from "./panels/Templates";
import { useAppearance } from "./settings/appearance";
import { CheatSheet } from "./shell/CheatSheet";
import { Notices } from "./shell/Notices";
import { Preferences } from "./shell/Preferences";
import { PanelRegion, Rail } from "./shell/Sides";
import { StatusBar } from "./shell/StatusBar";
import { TopBar } from "./shell/TopBar";
import { Broken } from "./shell/Broken";
import { useTitle } from "./shell/title";
import { useDocument } from "./store/document";
import { pathOf } from "./store/opened";
import { OnCanvas } from "./store/seen";
import { useActive } from "./store/workspace";
import { useStrings } from "./strings";
import { Boundary } from "./widgets/Boundary";

export function App() {
  const words = useStrings().shell;
  const { view } = useActive();
  const level = useDocument((state) => [view, ...pathOf(state)].join("/"));
  const workflow = useDocument((state) => state.workflow);
  useShortcuts();
  useAppearance();
  useTitle(useDocument(({ source, workflow }) => source?.name || workflow.name) || words.untitled);
  return (
    <div className="app">
      <TopBar />
      <div className="middle">
        <Rail side="left" />
        <PanelRegion side="left" />
        <div className="centre">
          <main className="canvas" tabIndex={-1} aria-label={words.canvas} {...dropArea}>
            <Boundary of={workflow} instead={(error) => <Broken error={error} />}>
              <ReactFlowProvider key={level}>
                <OnCanvas.Provider value={true}>
                  <Canvas />
                </OnCanvas.Provider>
              </ReactFlowProvider>
            </Boundary>
            {isBlank(workflow) && <Templates />}
          </main>
          <PanelRegion side="bottom" />
        </div>
        <PanelRegion side="right" />
        <Rail side="right" />
      </div>
      <StatusBar />
      <Palette />
      <Menu />
      <CheatSheet />
      <Preferences />
      <QuestionDialog />
      <Notices />
    </div>
  );
}
