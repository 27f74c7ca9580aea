import createClient from "openapi-fetch";
import { strings } from "../strings";
import { clock } from "./clock";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type NodeSpec = Schemas["NodeTypeInfo"];
export type InputPort = Schemas["InputPort"];
export type OutputPort = Schemas["OutputPort"];
export type PortType = Schemas["PortTypeInfo"];
export type Problem = Schemas["Problem"];
export type Job = Schemas["Job"];
export type OutputFile = Schemas["OutputFile"];

/** The workflow whose own page a path is; null: it is the editor's. */
export function appOf(path: string): string | null {
  const [, name] = /\/app\/([^/]+)$/.exec(path) ?? [];
  if (name === undefined) return null;
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // a % that codes nothing
  }
}

/** Where the editor was served from: the API is below it. */
export const BASE = new URL(appOf(location.pathname) === null ? "." : "..", document.baseURI);

/** The address of a workflow's own page. */
export const appUrl = (name: string) => new URL(`app/${encodeURIComponent(name)}`, BASE).href;

/** How long an answer may take; that to many bytes longer, by the second for each of 64 KiB. */
const PATIENCE_MS = 30_000;
const BYTES_PER_SECOND = 65_536;

const limited = (bytes = 0) => AbortSignal.timeout(PATIENCE_MS + (1000 * bytes) / BYTES_PER_SECOND);

export const api = createClient<paths>({
  baseUrl: BASE.href.replace(/\/$/, ""),
  async fetch(request) {
    const response = await fetch(request, { signal: limited() });
    clock.hear(response.headers.get("Date"));
    return response;
  },
});

/** What the server answered instead of what was asked for; `problems` is never empty. */
export class ServerError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly problems: Partial<Problem>[],
  ) {
    super(message);
  }
}

/** The server did not answer at all. */
export class Unreachable extends Error {
  /** `waited`: it took what was asked, as far as one can tell, and did not answer in time. */
  constructor(
    message: string,
    readonly waited = false,
  ) {
    super(message);
  }
}

/** Something answered that is not the server: the page of a proxy that wants a login. */
export class OtherServer extends Error {}

const FINAL = new Set([400, 403, 404, 405, 409, 410, 412, 413, 415, 422]);

/** Whether the same request may succeed later: the server is away, starts, is busy, or wants a login. */
export const isPassing = (error: unknown): boolean =>
  error instanceof Unreachable || error instanceof OtherServer || (error instanceof ServerError && !FINAL.has(error.status));

interface Reply<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of a reply: `await given(api.GET("/api/v1/queue"))`. Raises ServerError, Unreachable. */
export async function given<T>(reply: Promise<Reply<T>>): Promise<T> {
  let told: Reply<T>;
  try {
    told = await reply;
  } catch (error) {
    throw failureToAsk(error);
  }
  if (told.response.ok) return told.data as T;
  throw failureOf(told.response.status, told.error);
}

/** Why there is no reply: `fetch` throws TypeErrors and the time limit; what is no JSON is a SyntaxError. */
function failureToAsk(error: unknown): Error {
  if (error instanceof SyntaxError) return new OtherServer(error.message);
  const { name, message } = error as Error;
  return new Unreachable(message, name === "TimeoutError");
}

export function failureOf(status: number, body: unknown): ServerError {
  const failure = (typeof body === "object" && body !== null ? body : {}) as Partial<Schemas["Failure"]>;
  const message = failure.message ?? `HTTP ${status}`;
  const code = failure.code ?? "unexpected";
  const problems = failure.problems?.length ? failure.problems : [{ code, message }];
  return new ServerError(status, code, message, problems);
}

/** POST bytes, as `files` and `import` take them. Raises ServerError, Unreachable. */
export async function send<T>(path: string, file: Blob, media = file.type): Promise<T> {
  const headers = { "Content-Type": media || "application/octet-stream" };
  let response: Response;
  try {
    response = await fetch(new URL(path, BASE), { method: "POST", body: file, headers, signal: limited(file.size) });
  } catch (error) {
    throw failureToAsk(error);
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw failureOf(response.status, body);
  if (body === null) throw new OtherServer(response.url);
  return body as T;
}

/** The content of an output file. Raises ServerError, Unreachable. */
export async function contentOf(sha256: string): Promise<Blob> {
  const response = await fetch(contentUrl(sha256), { signal: limited() }).catch((error: unknown) => {
    throw failureToAsk(error);
  });
  if (!response.ok) throw failureOf(response.status, await response.json().catch(() => null));
  return response.blob();
}

/** A ZIP archive of output files of that many bytes. Raises ServerError, Unreachable. */
export async function archiveOf(sha256: string[], bytes: number): Promise<Blob> {
  const body = JSON.stringify({ sha256 });
  const headers = { "Content-Type": "application/json" };
  const address = new URL("api/v1/outputs/zip", BASE);
  const response = await fetch(address, { method: "POST", body, headers, signal: limited(bytes) }).catch((error: unknown) => {
    throw failureToAsk(error);
  });
  if (!response.ok) throw failureOf(response.status, await response.json().catch(() => null));
  return response.blob().catch((error: unknown) => {
    throw failureToAsk(error);
  });
}

/** The address of a picture that workflows may name. */
export const fileUrl = (name: string) =>
  new URL(`api/v1/files/${name.split("/").map(encodeURIComponent).join("/")}`, BASE).href;

export const contentUrl = (sha256: string) => new URL(`api/v1/outputs/${sha256}/content`, BASE).href;

export const thumbnailUrl = (sha256: string) => new URL(`api/v1/outputs/${sha256}/thumbnail`, BASE).href;

/** The words to show for anything that was thrown. */
export function told(error: unknown): string {
  const words = strings().shell;
  if (error instanceof Unreachable) return error.waited ? words.noAnswer : words.away;
  if (error instanceof OtherServer) return words.otherServer;
  if (error instanceof ServerError) {
    const [first] = error.problems;
    const text = first?.message ?? error.message;
    return first?.hint ? `${text} (${first.hint})` : text;
  }
  return error instanceof Error ? error.message : String(error);
}
