import type { Fault, FaultContext } from './faults.ts';

export interface LaneRecord {
  readonly happened: Record<string, number>;
  /** Faults that could not be made, or not be undone as they should. */
  readonly failed: string[];
  /** Under way. */
  readonly now: Set<string>;
}

export interface LaneOptions<Kind extends string> {
  readonly kinds: readonly Kind[];
  readonly faults: Readonly<Record<Kind, Fault>>;
  /** Left out in every second round, once each was there three times: they take long. */
  readonly seldom: readonly Kind[];
  readonly context: FaultContext;
  readonly record: LaneRecord;
  readonly isOver: () => boolean;
  /** Until all is well again. */
  readonly recovered: () => Promise<void>;
  readonly pauseMs: number;
}

const always = 3;

/** One fault after the other, each kind once in each round, in an order of the seed. */
export async function runLane<Kind extends string>(options: LaneOptions<Kind>): Promise<void> {
  const { kinds, faults, seldom, context, record, isOver, recovered, pauseMs } = options;
  for (let round = 1; !isOver(); round += 1) {
    const skipped = round > always && round % 2 === 0 ? seldom : [];
    for (const kind of shuffled(kinds, context.random)) {
      if (isOver()) return;
      if (skipped.includes(kind)) continue;
      record.now.add(kind);
      try {
        await faults[kind](context);
        record.happened[kind] = (record.happened[kind] ?? 0) + 1;
      } catch (error) {
        record.failed.push(`${kind}: ${error instanceof Error ? error.message : String(error)}`);
      }
      record.now.delete(kind);
      await recovered();
      await context.pause(pauseMs);
    }
  }
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ item }) => item);
}
