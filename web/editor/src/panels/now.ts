import { useEffect, useState } from "react";
import { clock } from "../api/clock";

/** Seconds since 1970 by the server's clock, anew from time to time. */
export function useNow(every: number): number {
  const [now, setNow] = useState(() => clock.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(clock.now()), every * 1000);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
