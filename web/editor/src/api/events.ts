/** The stream of numbered events: over a WebSocket, taken up again behind the last number whenever it breaks. */

import { BASE } from "./client";

export interface JobEvent {
  number: number;
  event: string;
  job: string;
  time: number;
  node?: string;
  type?: string;
  nodes?: number;
  step?: number;
  total?: number;
  message?: string;
  seconds?: number;
  code?: string;
  path?: string;
  problem?: Record<string, string>;
}

/** Progress of the moment: like an event, without a number, never stored. */
export type LiveEvent = Omit<JobEvent, "number" | "time">;

export interface Preview {
  job: string;
  node: string;
  step: number;
  picture: Blob;
}

export interface Listener {
  events(events: JobEvent[]): void;
  live(event: LiveEvent): void;
  preview(preview: Preview): void;
  connection(up: boolean): void;
  /** The server does not have that place in its stream: what is known of it has to be read again. */
  reset(): void;
}

/** A place in a stream of events: behind a number of that stream. */
export interface Place {
  event: number;
  stream: string;
}

const FIRST_PAUSE = 300;
const LONGEST_PAUSE = 5000;

/** Follow all events behind a place; the answer ends it. */
export function follow(from: Place, listener: Listener, open = (url: URL) => new WebSocket(url)): () => void {
  let { event: next, stream } = from;
  let pause = FIRST_PAUSE;
  let ended = false;
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const connect = () => {
    const url = new URL(`api/v1/events/socket?previews=true&after=${next}&stream=${stream}`, BASE);
    url.protocol = url.protocol.replace("http", "ws");
    socket = open(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      pause = FIRST_PAUSE;
      listener.connection(true);
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data !== "string") return listener.preview(previewOf(data));
      const message = JSON.parse(data) as {
        live?: LiveEvent;
        events?: JobEvent[];
        next?: number;
        reset?: { next: number; stream: string };
      };
      if (message.live) return listener.live(message.live);
      if (message.reset) {
        ({ next, stream } = message.reset);
        return listener.reset();
      }
      next = message.next ?? next;
      listener.events(message.events ?? []);
    };
    socket.onclose = () => {
      if (ended) return;
      listener.connection(false);
      timer = setTimeout(connect, pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    };
  };

  connect();
  return () => {
    ended = true;
    clearTimeout(timer);
    socket?.close();
  };
}

/** A binary message: four bytes with the length of a JSON head, the head, the picture. */
export function previewOf(data: ArrayBuffer): Preview {
  const length = new DataView(data).getUint32(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as {
    job: string;
    node: string;
    step: number;
    media: string;
  };
  const picture = new Blob([new Uint8Array(data, 4 + length)], { type: head.media });
  return { job: head.job, node: head.node, step: head.step, picture };
}
