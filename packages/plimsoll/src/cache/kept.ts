import type { Seen } from '../kernel/seen.ts';
import type { Entry } from './entry.ts';
import { laterMark, noMark, type Mark } from './position.ts';
import { Sieve } from './sieve.ts';
import type { SharedInvalidation } from './shared-store.ts';
import { TagTable } from './tag-table.ts';

interface Memo {
  /** Of the table: nobody counts a memo as a use of its tags, so the next invalidation of whatever ends it. */
  readonly sequence: number;
  readonly entries: Map<string, Entry>;
}

/** What one request remembers, at most. */
const mostMemo = 1_000;

/**
 * What this process keeps: the entries of all, and for each request those that it has been answered with. It is
 * empty while nobody would tell what was invalidated elsewhere.
 */
export class Kept {
  readonly table = new TagTable();
  readonly entries: Sieve;
  readonly #memos = new WeakMap<Seen, Memo>();
  #trusted: boolean;
  // Changes with trust: what was sent before it, nobody here has heard.
  #floor: Mark = noMark;

  constructor(limits: { readonly maxEntries: number; readonly maxBytes: number }, trusted: boolean) {
    this.entries = new Sieve({ ...limits, onLeave: ({ slots }) => this.table.releaseTags(slots) });
    this.#trusted = trusted;
  }

  get trusted(): boolean {
    return this.#trusted;
  }

  /**
   * What a load must be at or past, by what was invalidated before anybody here listened. A shared tier knows it of each
   * tag; only who loads without its answer needs it.
   */
  get floor(): Mark {
    return this.#floor;
  }

  /** Never one of an earlier flight in place of one of a later flight that is still good. */
  put(entry: Entry): void {
    if (!this.#trusted) return;
    const former = this.entries.get(entry.key);
    if (former !== undefined && former.flight > entry.flight && this.table.isCurrent(former)) return;
    this.table.retain(entry.slots);
    if (!this.entries.put(entry)) this.table.releaseTags(entry.slots);
  }

  /** What may be answered, by its versions; one that may not is dropped. */
  find(
    key: string,
    seen: Seen | undefined,
  ): { readonly entry: Entry; readonly tier: 'memo' | 'process' } | undefined {
    const entry = this.entries.get(key);
    if (entry !== undefined) {
      if (this.table.isCurrent(entry)) return { entry, tier: 'process' };
      this.entries.delete(entry);
    }
    const memo = seen === undefined ? undefined : this.#memos.get(seen);
    const remembered = memo?.sequence === this.table.sequence ? memo.entries.get(key) : undefined;
    return remembered === undefined ? undefined : { entry: remembered, tier: 'memo' };
  }

  /** What the request was just answered with, if nothing was invalidated since it was made. */
  remember(seen: Seen, entry: Entry, sequence: number): void {
    if (sequence !== this.table.sequence) return;
    let memo = this.#memos.get(seen);
    if (memo === undefined || memo.sequence !== sequence) {
      memo = { sequence, entries: new Map() };
      this.#memos.set(seen, memo);
    }
    if (memo.entries.size < mostMemo || memo.entries.has(entry.key)) memo.entries.set(entry.key, entry);
  }

  invalidate({ keys, tags, everything, floor }: SharedInvalidation, tick: number): void {
    for (const key of keys) {
      this.table.invalidateKey(key, floor, tick);
      const entry = this.entries.get(key);
      if (entry !== undefined) this.entries.delete(entry);
    }
    for (const tag of tags) this.table.invalidateTag(tag, floor, tick);
    if (everything) this.#dropAll(floor);
  }

  /** Also when it was trusted: fills that began before do not count. */
  trust(trusted: boolean, floor: Mark = noMark): void {
    this.#trusted = trusted;
    this.#floor = laterMark(this.#floor, floor);
    this.#dropAll(noMark);
  }

  #dropAll(floor: Mark): void {
    this.table.invalidateAll(floor);
    this.entries.clear();
  }
}
