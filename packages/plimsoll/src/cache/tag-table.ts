import type { Entry } from './entry.ts';
import { laterMark, noMark, type Mark } from './position.ts';
import type { Slot } from './slot.ts';

/** What a fill began with. It may be kept only while all of it is as it was. */
export interface Token {
  readonly key: Slot;
  readonly tags: readonly Slot[];
  /** The sum of all versions, and that of the key in it. */
  readonly stamp: number;
  readonly keyVersion: number;
  /** What the value must reflect. */
  readonly floor: Mark;
}

/** Slots that nobody uses and that have a floor, at most; of more, the highest floor is asked of all others. */
const mostIdle = 10_000;

/**
 * Versions of tags as counters in memory. To invalidate a tag is to add one, whatever the number of its keys; each
 * entry finds out when it is next looked at.
 */
export class TagTable {
  /** When a position was last heard of; on the coarse clock. */
  raisedAtTick = -Infinity;
  readonly #tags = new Map<string, Slot>();
  readonly #keys = new Map<string, Slot>();
  // Kept only for their floors, oldest first.
  readonly #idle = new Map<Slot, Map<string, Slot>>();
  readonly #lists = new WeakMap<readonly string[], readonly Slot[]>();
  // Of all slots that are not in the table.
  #floorOfOthers: Mark = noMark;
  /** Grows with every change, so that an entry compares its stamp once for each and not at each hit. */
  sequence = 0;

  get size(): number {
    return this.#tags.size + this.#keys.size;
  }

  /** Before the fill begins. Give it back to `release`. */
  take(key: string, tags: readonly string[]): Token {
    const ofKey = this.#use(this.#keys, key);
    const ofTags = this.#useAll(tags);
    let { version: stamp, floor } = ofKey;
    for (const slot of ofTags) {
      stamp += slot.version;
      floor = laterMark(floor, slot.floor);
    }
    return { key: ofKey, tags: ofTags, stamp, keyVersion: ofKey.version, floor };
  }

  /** One list for all entries of a policy whose tags are always the same. */
  #useAll(tags: readonly string[]): readonly Slot[] {
    const former = this.#lists.get(tags);
    if (former?.every((slot) => this.#tags.get(slot.name) === slot) === true) {
      for (const slot of former) this.#use(this.#tags, slot.name);
      return former;
    }
    const slots = tags.map((tag) => this.#use(this.#tags, tag));
    this.#lists.set(tags, slots);
    return slots;
  }

  release({ key, tags }: Token): void {
    this.#unuse(this.#keys, key);
    this.releaseTags(tags);
  }

  releaseTags(tags: readonly Slot[]): void {
    for (const slot of tags) this.#unuse(this.#tags, slot);
  }

  /** An entry compares the versions too, as long as it is kept. */
  retain(tags: readonly Slot[]): void {
    for (const slot of tags) slot.uses += 1;
  }

  /** How often the token's slots have changed since, added up. */
  changesSince({ key, tags, stamp }: Token): number {
    return key.version + sumOf(tags) - stamp;
  }

  /** The sum of the versions as they are now. */
  stampOf(tags: readonly Slot[]): number {
    return sumOf(tags);
  }

  isCurrent(entry: Entry): boolean {
    return entry.sequence === this.sequence || this.#compare(entry);
  }

  invalidateTag(tag: string, floor: Mark, tick: number): void {
    this.#raise(this.#tags, tag, floor, tick);
  }

  invalidateKey(key: string, floor: Mark, tick: number): void {
    this.#raise(this.#keys, key, floor, tick);
  }

  /** Those that are not in the table are compared by nobody. */
  invalidateAll(floor: Mark): void {
    this.sequence += 1;
    this.#floorOfOthers = laterMark(this.#floorOfOthers, floor);
    for (const slots of [this.#tags, this.#keys]) {
      for (const slot of slots.values()) {
        slot.version += 1;
        slot.floor = laterMark(slot.floor, floor);
      }
    }
  }

  #compare(entry: Entry): boolean {
    if (sumOf(entry.slots) !== entry.stamp) return false;
    entry.sequence = this.sequence;
    return true;
  }

  #raise(slots: Map<string, Slot>, name: string, floor: Mark, tick: number): void {
    this.sequence += 1;
    let slot = slots.get(name);
    if (slot === undefined) {
      // Nobody compares it; only its floor is worth a place.
      if (floor <= this.#floorOfOthers) return;
      slot = this.#use(slots, name);
      slot.uses = 0;
    }
    slot.version += 1;
    if (floor !== noMark) {
      slot.floor = laterMark(slot.floor, floor);
      slot.raisedAtTick = tick;
      this.raisedAtTick = tick;
    }
    if (slot.uses === 0) this.#rest(slots, slot);
  }

  #use(slots: Map<string, Slot>, name: string): Slot {
    let slot = slots.get(name);
    if (slot === undefined) {
      slot = { name, version: 0, floor: this.#floorOfOthers, raisedAtTick: -Infinity, uses: 0 };
      slots.set(name, slot);
    } else if (slot.uses === 0) this.#idle.delete(slot);
    slot.uses += 1;
    return slot;
  }

  #unuse(slots: Map<string, Slot>, slot: Slot): void {
    slot.uses -= 1;
    if (slot.uses > 0) return;
    if (slot.floor > this.#floorOfOthers) this.#rest(slots, slot);
    else slots.delete(slot.name);
  }

  #rest(slots: Map<string, Slot>, slot: Slot): void {
    this.#idle.delete(slot);
    this.#idle.set(slot, slots);
    if (this.#idle.size <= mostIdle) return;
    for (const [oldest, among] of this.#idle) {
      this.#idle.delete(oldest);
      among.delete(oldest.name);
      this.#floorOfOthers = laterMark(this.#floorOfOthers, oldest.floor);
      break;
    }
  }
}

function sumOf(slots: readonly Slot[]): number {
  let sum = 0;
  for (const { version } of slots) sum += version;
  return sum;
}
