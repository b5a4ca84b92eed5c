import { createContext, runInContext } from '../kernel/context.ts';

export interface CoalesceOptions {
  /** At most so many items in one flush. Default 1000. */
  readonly maxItems?: number;
  /** Whether a failure may be that of one item, so that the others are tried without it. Default never. */
  readonly isOfOne?: (error: unknown) => boolean;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Many calls, one statement: while one flush is under way the next items gather, without a timer and without a delay
 * for who is alone. Each caller learns how its own item fared. A flush runs in a context of its own, so that no
 * caller's deadline ends the work of the others.
 */
export function coalesce<Item, Result>(
  flush: (items: readonly Item[]) => Promise<readonly Result[]>,
  options: CoalesceOptions = {},
): (item: Item) => Promise<Result> {
  const { maxItems = 1_000, isOfOne = () => false } = options;
  let gathered: Waiting<Item, Result>[] = [];
  let flushing = false;

  async function drain(): Promise<void> {
    while (gathered.length > 0) {
      const batch = gathered.slice(0, maxItems);
      gathered = gathered.slice(maxItems);
      await settle(batch);
    }
    flushing = false;
  }

  async function settle(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await runInContext(
        createContext(),
        flush,
        batch.map(({ item }) => item),
      );
      for (const [index, { resolve }] of batch.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (batch.length === 1 || !isOfOne(error)) for (const { reject } of batch) reject(error);
      else for (const one of batch) await settle([one]);
    }
  }

  return (item) =>
    new Promise((resolve, reject) => {
      gathered.push({ item, resolve, reject });
      if (flushing) return;
      flushing = true;
      // What else is added in this turn belongs to the first flush.
      queueMicrotask(() => void drain());
    });
}
