import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type NodeSpec = Schemas["NodeTypeInfo"];
export type InputPort = Schemas["InputPort"];
export type OutputPort = Schemas["OutputPort"];
export type PortType = Schemas["PortTypeInfo"];
export type Problem = Schemas["Problem"];
export type Job = Schemas["Job"];
export type OutputFile = Schemas["OutputFile"];

/** Where the editor was served from: the API is below it. */
export const BASE = new URL(".", document.baseURI);

export const api = createClient<paths>({ baseUrl: BASE.href.replace(/\/$/, "") });

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
export class Unreachable extends Error {}

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
    throw new Unreachable(error instanceof Error ? error.message : String(error));
  }
  if (told.response.ok) return told.data as T;
  throw failureOf(told.response.status, told.error);
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
    response = await fetch(new URL(path, BASE), { method: "POST", body: file, headers });
  } catch (error) {
    throw new Unreachable(String(error));
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw failureOf(response.status, body);
  return body as T;
}

/** The address of a picture that workflows may name. */
export const fileUrl = (name: string) =>
  new URL(`api/v1/files/${name.split("/").map(encodeURIComponent).join("/")}`, BASE).href;

export const contentUrl = (sha256: string) => new URL(`api/v1/outputs/${sha256}/content`, BASE).href;

export const thumbnailUrl = (sha256: string) => new URL(`api/v1/outputs/${sha256}/thumbnail`, BASE).href;

/** The words to show for anything that was thrown. */
export function told(error: unknown): string {
  if (error instanceof ServerError) {
    const [first] = error.problems;
    const text = first?.message ?? error.message;
    return first?.hint ? `${text} (${first.hint})` : text;
  }
  return error instanceof Error ? error.message : String(error);
}
