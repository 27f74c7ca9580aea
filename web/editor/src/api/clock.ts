/** The server's clock, as far as a browser can tell it: times of jobs and files are the server's. */

/** Differences below this are those of answers that were on their way, in ms. */
const USUAL_MS = 5000;

export class ServerClock {
  private ahead = 0;

  /** Note the `Date` of an answer that has just come. */
  hear(date: string | null): void {
    const ahead = Date.parse(date ?? "") - Date.now();
    if (!Number.isNaN(ahead)) this.ahead = Math.abs(ahead) < USUAL_MS ? 0 : ahead;
  }

  /** Seconds since 1970. */
  now(): number {
    return (Date.now() + this.ahead) / 1000;
  }
}

export const clock = new ServerClock();
