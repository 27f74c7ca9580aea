/** The newest events, for those who keep lists of the server's and have to read them again. */

import { create } from "zustand";
import type { JobEvent } from "../api/events";

export const useHeard = create<{ events: readonly JobEvent[] }>()(() => ({ events: [] }));

const PAUSE_MS = 200;
const RESET = "stream_reset";

/** Have every list read again: nobody knows what was missed. */
export function heardReset(): void {
  useHeard.setState({ events: [{ number: 0, event: RESET, job: "", time: 0 }] });
}

/** Call `then` a moment after an event whose name fits, once for many. The answer ends it. */
export function whenHeard(name: RegExp, then: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = useHeard.subscribe(({ events }) => {
    if (timer !== undefined || !events.some(({ event }) => event === RESET || name.test(event))) return;
    timer = setTimeout(() => {
      timer = undefined;
      then();
    }, PAUSE_MS);
  });
  return () => (clearTimeout(timer), stop());
}
