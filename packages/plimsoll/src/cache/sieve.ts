import type { Entry } from './entry.ts';

export interface SieveOptions {
  readonly maxEntries: number;
  readonly maxBytes: number;
  /** Gets each entry that leaves, for whatever reason. */
  readonly onLeave: (entry: Entry) => void;
}

/**
 * The entries of a process, bounded by number and bytes, evicted by SIEVE (Zhang et al., NSDI 2024,
 * https://cachemon.github.io/SIEVE-website): a hit sets one bit and moves nothing, and what was not hit since the
 * hand last passed goes first. An LRU writes four links on each hit, and loses its hot keys to a scan.
 */
export class Sieve {
  readonly #entries = new Map<string, Entry>();
  readonly #options: SieveOptions;
  #newest: Entry | undefined = undefined;
  #oldest: Entry | undefined = undefined;
  // Where the search for what to evict goes on; undefined is the oldest.
  #hand: Entry | undefined = undefined;
  #bytes = 0;
  #evicted = 0;

  constructor(options: SieveOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }
  get bytes(): number {
    return this.#bytes;
  }
  /** For want of room. */
  get evicted(): number {
    return this.#evicted;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** False when it is larger than all the room there is. Takes the place of the entry of its key. */
  put(entry: Entry): boolean {
    const { maxEntries, maxBytes } = this.#options;
    const former = this.#entries.get(entry.key);
    if (former !== undefined) {
      entry.visited = former.visited;
      this.delete(former);
    }
    if (entry.bytes > maxBytes || maxEntries < 1) return false;
    while (this.#entries.size >= maxEntries || this.#bytes + entry.bytes > maxBytes) this.#evictOne();
    this.#entries.set(entry.key, entry);
    this.#bytes += entry.bytes;
    entry.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.newer = entry;
    this.#newest = entry;
    return true;
  }

  /** Does nothing for an entry that has left. */
  delete(entry: Entry): void {
    if (this.#entries.get(entry.key) !== entry) return;
    this.#entries.delete(entry.key);
    this.#bytes -= entry.bytes;
    const { older, newer } = entry;
    if (this.#hand === entry) this.#hand = newer;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    // Whoever still holds it must not hold its neighbours.
    entry.older = undefined;
    entry.newer = undefined;
    this.#options.onLeave(entry);
  }

  clear(): void {
    for (const entry of this.#entries.values()) this.delete(entry);
    this.#hand = undefined;
  }

  #evictOne(): void {
    let candidate = this.#hand ?? this.#oldest;
    while (candidate?.visited === true) {
      candidate.visited = false;
      candidate = candidate.newer ?? this.#oldest;
    }
    if (candidate === undefined) return;
    this.#hand = candidate;
    this.#evicted += 1;
    this.delete(candidate);
  }
}
