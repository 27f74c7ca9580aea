import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Followed, Listener } from "./events";
import { follow, previewOf } from "./events";

/** A socket that the test speaks for. */
class Line {
  binaryType = "";
  onopen?: () => void;
  onclose?: () => void;
  onmessage?: (message: { data: unknown }) => void;
  closed = false;
  constructor(readonly url: URL) {}
  close() {
    this.closed = true;
    this.onclose?.();
  }
}

let lines: Line[];
let told: unknown[];
const listener: Listener = {
  events: (events) => told.push(...events.map(({ number }) => number)),
  live: (event) => told.push(event.event),
  preview: ({ node, step }) => told.push([node, step]),
  connection: (up) => told.push(up),
  reset: () => told.push("reset"),
};
let followed: Followed[] = [];
function start(event: number, previews = () => true): Followed {
  const open = (url: URL) => (lines.push(new Line(url)), lines.at(-1)) as unknown as WebSocket;
  followed.push(follow({ event, stream: "s1" }, listener, previews, open));
  return followed.at(-1) as Followed;
}
const page = (...numbers: number[]) => ({ data: JSON.stringify({ events: numbers.map((number) => ({ number })), next: numbers.at(-1) }) });

beforeEach(() => {
  vi.useFakeTimers();
  [lines, told] = [[], []];
});
afterEach(() => {
  for (const one of followed.splice(0)) one.end();
  vi.useRealTimers();
});

it("takes up behind the last number when the line breaks", () => {
  start(5);
  expect(lines[0]!.url.search).toBe("?previews=true&after=5&stream=s1");
  expect(lines[0]!.url.protocol).toBe("ws:");

  lines[0]!.onopen?.();
  lines[0]!.onmessage?.(page(6, 7));
  lines[0]!.onclose?.();
  vi.advanceTimersByTime(300);

  expect(lines[1]!.url.search).toBe("?previews=true&after=7&stream=s1");
  expect(told).toEqual([true, 6, 7, false]);
});

it("asks less and less often, and soon again after a success", () => {
  start(0);
  for (let n = 0; n < 10; n++) (lines.at(-1)!.onclose?.(), vi.advanceTimersByTime(5000));
  expect(lines.length).toBe(11);
  lines.at(-1)!.onclose?.();
  vi.advanceTimersByTime(4000);
  expect(lines.length).toBe(11);
  vi.advanceTimersByTime(1000);
  lines.at(-1)!.onopen?.();
  lines.at(-1)!.onclose?.();
  vi.advanceTimersByTime(300);
  expect(lines.length).toBe(13);
});

it("starts over in the stream that the server has", () => {
  start(5);
  lines[0]!.onmessage?.({ data: JSON.stringify({ reset: { stream: "s2", next: 3 } }) });
  lines[0]!.onclose?.();
  vi.advanceTimersByTime(300);

  expect(lines[1]!.url.search).toBe("?previews=true&after=3&stream=s2");
  expect(told).toEqual(["reset", false]);
});

it("ends when it is told to", () => {
  start(0).end();
  vi.advanceTimersByTime(60_000);

  expect([lines.length, lines[0]!.closed]).toEqual([1, true]);
});

it("tells progress of the moment", () => {
  start(0);
  lines[0]!.onmessage?.({ data: '{"live":{"event":"node_progress","job":"j"}}' });

  expect(told).toEqual(["node_progress"]);
});

it("reads previews", async () => {
  const head = new TextEncoder().encode('{"job":"j","node":"n","step":3,"media":"image/jpeg"}');
  const message = new Uint8Array(4 + head.length + 2);
  new DataView(message.buffer).setUint32(0, head.length);
  message.set(head, 4);
  message.set([1, 2], 4 + head.length);

  const found = previewOf(message.buffer);

  expect([found.job, found.node, found.step, found.picture.type]).toEqual(["j", "n", 3, "image/jpeg"]);
  expect([...new Uint8Array(await found.picture.arrayBuffer())]).toEqual([1, 2]);
});

it("takes up a line that says nothing for long, and at once when the network is back", () => {
  start(5);
  lines[0]!.onopen?.();
  for (let n = 0; n < 3; n++) (vi.advanceTimersByTime(30_000), lines[0]!.onmessage?.({ data: '{"events":[],"next":5}' }));
  expect([lines.length, told]).toEqual([1, [true]]);

  vi.advanceTimersByTime(35_000);
  expect([lines.length, lines[0]!.closed, told]).toEqual([2, true, [true, false]]);
  lines[0]!.onmessage?.(page(6));
  lines[1]!.onopen?.();
  dispatchEvent(new Event("online"));
  expect([lines.length, told]).toEqual([3, [true, false, true, false]]);
});

it("asks for pictures as they are wanted at the moment", () => {
  let wanted = true;
  const { again } = start(0, () => wanted);
  wanted = false;
  again();

  expect(lines.map(({ url }) => url.searchParams.get("previews"))).toEqual(["true", "false"]);
  expect(told).toEqual([false]);
});
