/** One place in a list; to be given back to `remove`. */
export interface Link<Item> {
  readonly item: Item;
  previous: Link<Item> | undefined;
  next: Link<Item> | undefined;
}

/**
 * Items in the order they came, added and removed in constant time. For what comes and goes with every request:
 * a `Set` makes a new table every few times, and each old table holds the next one until a full collection, which
 * kept tens of megabytes of requests alive that were long over.
 */
export class LinkedList<Item> {
  #first: Link<Item> | undefined = undefined;
  #last: Link<Item> | undefined = undefined;

  get first(): Link<Item> | undefined {
    return this.#first;
  }

  add(item: Item): Link<Item> {
    const link: Link<Item> = { item, previous: undefined, next: undefined };
    this.addLink(link);
    return link;
  }

  /** For an item that is its own link, in one list at a time. */
  addLink(link: Link<Item>): void {
    const last = this.#last;
    link.previous = last;
    if (last === undefined) this.#first = link;
    else last.next = link;
    this.#last = link;
  }

  /** Does nothing for a link that was removed before. */
  remove(link: Link<Item>): void {
    const { previous, next } = link;
    if (previous === undefined && this.#first !== link) return;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    // What is kept of a link must not keep its neighbours.
    link.previous = undefined;
    link.next = undefined;
  }

  /** Also while items are removed. */
  *[Symbol.iterator](): Generator<Item> {
    let link = this.#first;
    while (link !== undefined) {
      const { next } = link;
      yield link.item;
      link = next;
    }
  }
}
