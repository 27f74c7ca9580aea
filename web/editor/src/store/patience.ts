/** Asking again: less and less often, until there is an answer. */

import { isPassing, ServerError, told, Unreachable } from "../api/client";
import { useWorkspace } from "./workspace";

const FIRST_MS = 1000;
const LONGEST_MS = 5000;

/** Wait after the attempt of that number, from 0. */
export const rest = (n: number) => new Promise((done) => setTimeout(done, Math.min(FIRST_MS * 2 ** n, LONGEST_MS)));

/** Ask until there is an answer, and tell once why there is none. Raises what no later answer can be free of. */
export async function patiently<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let n = 0; ; n++) {
    try {
      return await ask();
    } catch (error) {
      if (!isPassing(error) || signal?.aborted) throw error;
      if (n === 1 && !isStarting(error)) useWorkspace.getState().notify("warning", told(error));
      await rest(n);
    }
  }
}

/** The connection's state tells that the server is away; in a fresh home it looks at the plugins first. */
const isStarting = (error: unknown) => error instanceof Unreachable || (error instanceof ServerError && error.status === 503);
