/** What a browser keeps for a page, as JSON. A storage that is full or forbidden keeps nothing and breaks nothing. */

export interface Kept {
  /** What was written under a key; null: nothing, or nothing that can be read. */
  read(key: string): unknown;
  /** Whether it is kept. */
  write(key: string, value: unknown): boolean;
  remove(key: string): void;
  keys(): string[];
}

/** A storage by what gives it, which may throw as well. */
export function storageOf(storage: () => Storage): Kept {
  const attempt = <T>(work: (storage: Storage) => T, otherwise: T): T => {
    try {
      return work(storage());
    } catch {
      return otherwise;
    }
  };
  return {
    read: (key) => attempt((storage) => JSON.parse(storage.getItem(key) ?? "null") as unknown, null),
    write: (key, value) => attempt((storage) => (storage.setItem(key, JSON.stringify(value)), true), false),
    remove: (key) => attempt((storage) => storage.removeItem(key), undefined),
    keys: () => attempt((storage) => Array.from({ length: storage.length }, (_, n) => storage.key(n) ?? ""), []),
  };
}

/** Kept for this browser tab, over reloads. */
export const ofTab = storageOf(() => sessionStorage);

/** Kept for all windows of the browser. */
export const ofBrowser = storageOf(() => localStorage);
