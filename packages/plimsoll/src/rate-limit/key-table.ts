/** Slots looked at for an idle key: when there is room, and when there is none. */
const glance = 2;
const search = 16;
const smallest = 64;
/** A key that has been idle for less stays while there is room: it is likely to come again. */
const graceMs = 10_000;

/**
 * A time for each of at most `maxKeys` keys. A key whose time has passed is idle, and as good as absent; only such
 * keys make room for others. Each new key looks at a few slots in turn, so the table stays about as large as what is
 * in use, without a timer and without a pause.
 */
export class KeyTable {
  readonly #maxKeys: number;
  readonly #slots = new Map<string, number>();
  readonly #keys: string[] = [];
  // Numbers in a Map would each be a new object at every change.
  #times = new Float64Array(smallest);
  // The slot that is looked at next.
  #hand = 0;

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#keys.length;
  }

  /** Undefined for a key that is not there. */
  find(key: string): number | undefined {
    return this.#slots.get(key);
  }

  timeAt(slot: number): number {
    return this.#times[slot] as number;
  }

  setAt(slot: number, time: number): void {
    this.#times[slot] = time;
  }

  /** Whether one more fits, after a look for idle keys. */
  makeRoom(nowMs: number): boolean {
    if (this.size < this.#maxKeys) this.#sweep(nowMs - graceMs, glance);
    else this.#sweep(nowMs, search);
    return this.size < this.#maxKeys;
  }

  /** A key that is not there, when there is room. */
  add(key: string, time: number): void {
    const slot = this.size;
    if (slot === this.#times.length) this.#resize(slot * 2);
    this.#slots.set(key, slot);
    this.#keys.push(key);
    this.#times[slot] = time;
  }

  delete(key: string): void {
    const slot = this.#slots.get(key);
    if (slot !== undefined) this.#remove(slot);
  }

  #sweep(untilMs: number, count: number): void {
    for (let looked = 0; looked < count && this.size > 0; looked += 1) {
      if (this.#hand >= this.size) this.#hand = 0;
      if (this.timeAt(this.#hand) <= untilMs) this.#remove(this.#hand);
      else this.#hand += 1;
    }
  }

  /** The last key takes the slot. */
  #remove(slot: number): void {
    const last = this.size - 1;
    const moved = this.#keys.pop() as string;
    this.#slots.delete(slot === last ? moved : (this.#keys[slot] as string));
    if (slot !== last) {
      this.#keys[slot] = moved;
      this.#times[slot] = this.#times[last] as number;
      this.#slots.set(moved, slot);
    }
    if (last * 4 < this.#times.length && this.#times.length > smallest) this.#resize(this.#times.length / 2);
  }

  #resize(length: number): void {
    const times = new Float64Array(length);
    times.set(this.#times.subarray(0, this.size));
    this.#times = times;
  }
}
