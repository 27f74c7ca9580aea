import { afterEach, expect, it, vi } from "vitest";
import { api, appOf, appUrl, contentOf, given, isPassing, OtherServer, send, ServerError, told, Unreachable } from "./client";
import { answering, json } from "./net";

afterEach(() => void vi.unstubAllGlobals());

const reason = (asking: Promise<unknown>) => asking.then(() => null, (error: unknown) => error);
const html = (status: number) => new Response("<html>Sign in</html>", { status, headers: { "Content-Type": "text/html" } });

it.each([
  ["/", null],
  ["/app/", null],
  ["/app/Level%20maker", "Level maker"],
  ["/below/a/proxy/app/%E6%B5%8B", "测"],
  ["/app/100%", "100%"],
])("the path %j is the page of %j", (path, name) => expect(appOf(path)).toBe(name));

it("a page is found again by its address", () => expect(appOf(new URL(appUrl("50% + (1)")).pathname)).toBe("50% + (1)"));

it("a server that is away, one that is silent, and another one in its place are told apart", async () => {
  answering(() => undefined);
  const away = await reason(given(api.GET("/api/v1/nodes")));
  answering(() => Promise.reject(new DOMException("signal timed out", "TimeoutError")));
  const silent = await reason(given(api.GET("/api/v1/nodes")));
  answering(() => html(200));
  const other = [await reason(given(api.GET("/api/v1/nodes"))), await reason(send("api/v1/files", new Blob(["x"])))];

  expect([away, silent].map((error) => error instanceof Unreachable)).toEqual([true, true]);
  expect(told(away)).toBe("The server is away");
  expect(told(silent)).toBe("The server does not answer");
  for (const error of other) expect(error).toBeInstanceOf(OtherServer);
});

it("every request has a limit of time", async () => {
  const limits: unknown[] = [];
  vi.stubGlobal("fetch", async (_: unknown, init?: RequestInit) => (limits.push(init?.signal), json({})));
  await given(api.GET("/api/v1/nodes"));
  await send("api/v1/files", new Blob(["x"]));
  await contentOf("0");

  expect(limits.map((signal) => signal instanceof AbortSignal)).toEqual([true, true, true]);
});

it.each([
  [401, true],
  [408, true],
  [429, true],
  [500, true],
  [502, true],
  [503, true],
  [400, false],
  [404, false],
  [412, false],
  [413, false],
  [422, false],
])("whether a %d may pass: %s", async (status, passing) => {
  answering(() => html(status));
  const error = await reason(given(api.GET("/api/v1/nodes")));

  expect([error instanceof ServerError, isPassing(error)]).toEqual([true, passing]);
});

it("the answer to a picture that is gone is no picture", async () => {
  answering(() => json({ code: "unknown_output", message: "no such file", problems: [] }, 404));

  expect(told(await reason(contentOf("0")))).toBe("no such file");
});
