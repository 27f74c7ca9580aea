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
/** The server sends something at least every 15 s: silence of this length is a line that is dead. */
const SILENCE_MS = 35_000;

export interface Followed {
  /** Take the line up again, now. */
  again(): void;
  end(): void;
}

/** Follow all events behind a place. `previews`: whether pictures are wanted, asked each time that the line is taken up. */
export function follow(from: Place, listener: Listener, previews: () => boolean, open = (url: URL) => new WebSocket(url)): Followed {
  let { event: next, stream } = from;
  let pause = FIRST_PAUSE;
  let ended = false;
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let heard = 0;

  const hear = () => {
    heard = Date.now();
    clearTimeout(silence);
    silence = setTimeout(again, SILENCE_MS);
  };
  /** A dead line closes late or never, so nothing is waited for. */
  const leave = () => {
    clearTimeout(timer);
    clearTimeout(silence);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = undefined;
  };
  const again = () => {
    if (ended) return;
    leave();
    listener.connection(false);
    connect();
  };
  /** Timers stop in a machine that sleeps. */
  const awake = () => Date.now() - heard > SILENCE_MS && again();

  const connect = () => {
    const url = new URL(`api/v1/events/socket?previews=${previews()}&after=${next}&stream=${stream}`, BASE);
    url.protocol = url.protocol.replace("http", "ws");
    socket = open(url);
    socket.binaryType = "arraybuffer";
    hear();
    socket.onopen = () => {
      hear();
      pause = FIRST_PAUSE;
      listener.connection(true);
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      hear();
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
      if (message.events?.length) listener.events(message.events);
    };
    socket.onclose = () => {
      leave();
      listener.connection(false);
      timer = setTimeout(connect, pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    };
  };

  connect();
  addEventListener("online", again);
  document.addEventListener("visibilitychange", awake);
  const end = () => {
    ended = true;
    removeEventListener("online", again);
    document.removeEventListener("visibilitychange", awake);
    leave();
  };
  return { again, end };
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
