import { useEffect } from "react";
import { useIsRunning, useShownRun } from "../store/running";
import { progressOf } from "../store/runs";
import { useStrings } from "../strings";

/** Put a workflow's name into the title of the browser's tab, and before it how far its run is. */
export function useTitle(name: string) {
  const { product } = useStrings().shell;
  const running = useIsRunning();
  const part = useShownRun((run) => (run ? Math.floor(100 * progressOf(run)) : 0));
  useEffect(() => {
    document.title = `${running ? `${part}% ` : ""}${name} - ${product}`;
  }, [name, product, running, part]);
}
