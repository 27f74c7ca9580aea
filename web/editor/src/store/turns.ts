/** Work on one thing at a time: what comes meanwhile waits for its turn, and is told so. */
export function turns<K extends object>() {
  const last = new WeakMap<K, Promise<unknown>>();
  return <T>(thing: K, work: (waited: boolean) => Promise<T>): Promise<T> => {
    const before = last.get(thing);
    const mine = (before ?? Promise.resolve()).then(() => work(before !== undefined));
    const done = mine.then(forget, forget);
    last.set(thing, done);
    return mine;

    function forget() {
      if (last.get(thing) === done) last.delete(thing);
    }
  };
}
