/** A network for tests. */

import { vi } from "vitest";

export const json = (body: unknown, status = 200) =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });

/** What a request is answered; undefined: nobody is there. */
export type Answer = (request: Request) => Promise<Response | undefined> | Response | undefined;

/** Answer all requests, until `vi.unstubAllGlobals`; the requests so far. */
export function answering(answer: Answer): Request[] {
  const asked: Request[] = [];
  vi.stubGlobal("fetch", async (input: RequestInfo | URL, init?: RequestInit) => {
    const request = input instanceof Request ? input : new Request(input, init);
    asked.push(request.clone());
    const found = await answer(request);
    if (!found) throw new TypeError("Failed to fetch");
    return found;
  });
  return asked;
}
