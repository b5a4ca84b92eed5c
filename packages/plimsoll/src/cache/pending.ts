import { laterMark, noMark, type Mark } from './position.ts';
import type { SharedInvalidation } from './shared-store.ts';

/** Remembered each for itself, at most; with more, everything is invalidated. */
const mostPending = 10_000;

interface Slot {
  readonly kind: 'key' | 'tag' | 'everything';
  readonly name: string;
  readonly floor: Mark;
}

/** What was remembered by one call; to be given back when it is done. */
export type Remembered = readonly Slot[];

/**
 * Invalidations that a store may not have yet. Each call leaves slots of its own, so that one that has landed does
 * not take away what another one is still trying.
 */
export class PendingInvalidations {
  readonly #slots = new Map<string, Slot>();

  get size(): number {
    return this.#slots.size;
  }

  has(key: string, tags: readonly string[]): boolean {
    const slots = this.#slots;
    if (slots.size === 0) return false;
    return slots.has('everything:') || slots.has(`key:${key}`) || tags.some((tag) => slots.has(`tag:${tag}`));
  }

  add({ keys, tags, everything, floor }: SharedInvalidation): Remembered {
    if (everything || this.#slots.size + keys.length + tags.length > mostPending) {
      for (const slot of this.#slots.values()) floor = laterMark(floor, slot.floor);
      this.#slots.clear();
      return [this.#put('everything', '', floor)];
    }
    return [
      ...keys.map((key) => this.#put('key', key, floor)),
      ...tags.map((tag) => this.#put('tag', tag, floor)),
    ];
  }

  /** All there is, by floor: an invalidation has one. */
  all(): { readonly remembered: Remembered; readonly invalidations: readonly SharedInvalidation[] } {
    const remembered = [...this.#slots.values()];
    const floors = Map.groupBy(remembered, ({ floor }) => floor);
    const namesOf = (slots: Remembered, kind: Slot['kind']): string[] =>
      slots.flatMap((slot) => (slot.kind === kind ? [slot.name] : []));
    const invalidations = [...floors].map(([floor, slots]) => ({
      keys: namesOf(slots, 'key'),
      tags: namesOf(slots, 'tag'),
      everything: slots.some(({ kind }) => kind === 'everything'),
      floor,
    }));
    return { remembered, invalidations };
  }

  landed(remembered: Remembered): void {
    for (const slot of remembered) {
      const name = `${slot.kind}:${slot.name}`;
      if (this.#slots.get(name) === slot) this.#slots.delete(name);
    }
  }

  #put(kind: Slot['kind'], name: string, floor: Mark): Slot {
    const former = this.#slots.get(`${kind}:${name}`);
    const slot = { kind, name, floor: laterMark(floor, former?.floor ?? noMark) };
    this.#slots.set(`${kind}:${name}`, slot);
    return slot;
  }
}
