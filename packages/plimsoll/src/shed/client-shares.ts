/** Cells of a row; a power of two. */
const cells = 1_024;
/** Characters of a key that count: the last ones, where tokens differ. */
const keyLength = 128;
/** How long what a client was given counts. */
const generationMs = 1_000;

/**
 * What each client has, in two rows of counters whatever the number of clients: a client's count is the lower of its
 * two cells, so it is never too low, and too high only where both cells are shared. Which clients share a cell is
 * chosen at random for each process, so nobody can choose to share another's.
 */
export class ClientShares {
  readonly #seed: number;
  readonly #underWay = new Uint32Array(2 * cells);
  #recent = new Uint32Array(2 * cells);
  #before = new Uint32Array(2 * cells);
  #recentTotal = 0;
  #beforeTotal = 0;
  #sinceMs = -Infinity;

  constructor(random: () => number) {
    this.#seed = Math.floor(random() * 2 ** 32);
  }

  /** Stands for the key from here on: a cell of each row. */
  place(key: string): number {
    let hash = this.#seed ^ key.length;
    for (let at = Math.max(0, key.length - keyLength); at < key.length; at += 1)
      hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }

  /** Requests of the client that are under way. */
  underWay(place: number): number {
    return lower(this.#underWay, place);
  }

  begin(place: number, nowMs: number): void {
    this.#turn(nowMs);
    const first = firstOf(place);
    const second = secondOf(place);
    this.#underWay[first] = (this.#underWay[first] as number) + 1;
    this.#underWay[second] = (this.#underWay[second] as number) + 1;
    this.#recent[first] = (this.#recent[first] as number) + 1;
    this.#recent[second] = (this.#recent[second] as number) + 1;
    this.#recentTotal += 1;
  }

  end(place: number): void {
    const first = firstOf(place);
    const second = secondOf(place);
    this.#underWay[first] = (this.#underWay[first] as number) - 1;
    this.#underWay[second] = (this.#underWay[second] as number) - 1;
  }

  /** Which part of the requests admitted of late, from 0 to 1, was the client's. */
  recentShare(place: number, nowMs: number): number {
    this.#turn(nowMs);
    const total = this.#recentTotal + this.#beforeTotal;
    return total === 0 ? 0 : (lower(this.#recent, place) + lower(this.#before, place)) / total;
  }

  #turn(nowMs: number): void {
    const agedMs = nowMs - this.#sinceMs;
    if (agedMs < generationMs) return;
    const emptied = this.#before;
    this.#before = this.#recent;
    this.#beforeTotal = this.#recentTotal;
    this.#recent = emptied.fill(0);
    this.#recentTotal = 0;
    if (agedMs >= 2 * generationMs) {
      this.#before.fill(0);
      this.#beforeTotal = 0;
    }
    this.#sinceMs = nowMs;
  }
}

const firstOf = (place: number): number => place & (cells - 1);
const secondOf = (place: number): number => cells + ((place >>> 16) & (cells - 1));

function lower(counts: Uint32Array, place: number): number {
  return Math.min(counts[firstOf(place)] as number, counts[secondOf(place)] as number);
}
