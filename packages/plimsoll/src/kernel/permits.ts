import type { Place, WaitingLine } from './waiting-line.ts';

/** Milliseconds in which ended turns are counted for an estimate. */
const windowMs = 500;
const unknownMs = 1_000;
/** What hangs may end at any moment; who was told a longer time would come back long after that. */
const longestMs = 5_000;

/** What waits for permits. */
export interface Weighted {
  readonly weight: number;
}

/**
 * Permits, of which each turn takes some, and the line of those who wait for them. Nobody overtakes: while
 * somebody waits, a newcomer waits too, and who is next stays next until there are permits enough for it. So a
 * heavy turn waits no longer than a light one in its place, at the price of permits that lie idle meanwhile.
 */
export class Permits<Item extends Weighted> {
  readonly #line: WaitingLine<Item>;
  readonly #onTurn: (item: Item) => void;
  #free: number;
  /** Set while turns are handed out: one that ends at once must not begin another inside of itself. */
  #advancing = false;
  /** All weight ever given back. */
  #ended = 0;
  #endedBefore = 0;
  #windowSinceMs = -Infinity;
  /** Undefined until a window was counted. */
  #endedPerMs: number | undefined;

  /** `onTurn` must not throw. */
  constructor(free: number, line: WaitingLine<Item>, onTurn: (item: Item) => void) {
    this.#free = free;
    this.#line = line;
    this.#onTurn = onTurn;
  }

  get free(): number {
    return this.#free;
  }

  /** False when it has to wait. */
  take(weight: number): boolean {
    if (weight > this.#free || this.#line.length > 0) return false;
    this.#free -= weight;
    return true;
  }

  give(weight: number): void {
    this.#free += weight;
    this.#ended += weight;
    if (this.#line.length > 0) this.advance();
  }

  /** Gives their turn to all who can have it. */
  advance(): void {
    if (this.#advancing) return;
    this.#advancing = true;
    while (this.#free > 0) {
      const place: Place<Item> | undefined = this.#line.turn();
      if (place === undefined || place.item.weight > this.#free) break;
      this.#line.leave(place);
      this.#free -= place.item.weight;
      this.#onTurn(place.item);
    }
    this.#advancing = false;
  }

  /** About how long until somebody who came now would have its turn, by the turns that ended of late. */
  estimateMs(nowMs: number): number {
    const elapsedMs = nowMs - this.#windowSinceMs;
    if (elapsedMs >= windowMs) {
      // Of a time in which nobody asked, nothing is known: it may have been idle.
      this.#endedPerMs = elapsedMs < 2 * windowMs ? (this.#ended - this.#endedBefore) / elapsedMs : undefined;
      this.#windowSinceMs = nowMs;
      this.#endedBefore = this.#ended;
    }
    if (this.#endedPerMs === undefined) return unknownMs;
    return Math.min(longestMs, Math.ceil((this.#line.length + 1) / this.#endedPerMs));
  }
}
