import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import type { Clock } from '../kernel/clock.ts';
import type { ClaimedTask } from './task.ts';

/** From so long on the look at the heads of all lines walks over rows that are gone, and claims begin at a floor. */
const slowMs = 1;
/** How often the floor rises, */
const advanceEveryMs = 250;
/** to what was due so long ago at most: transactions that are open for no longer commit nothing behind it. */
const settledMs = 250;
/** A name with more priorities has no floor. */
const mostPriorities = 16;
const [lowest, highest] = [-32_768, 32_767];

/** Where in the line of its name and priority a claim begins. As the database writes it. */
interface Place {
  readonly run_at: string;
  readonly seq: number;
}
const beginning: Place = { run_at: '-infinity', seq: 0 };

/** Tasks of one name whose priorities are in these bounds, from a place on. */
interface Range extends Place {
  readonly low: number;
  readonly high: number;
}

/** Of a name without a floor. */
export const wholeLine: string = JSON.stringify([{ low: lowest, high: highest, ...beginning }]);

/**
 * Where claims begin to look. While a long transaction somewhere keeps the server from cleaning up, every task that has
 * begun is still in the index of the ready ones, and a claim from the beginning would walk over them all. So it begins
 * where the first ready task was at the last look, for each name and priority. What gets ready behind that, because its
 * transaction was open for long or it was given back, is found by the next look at everything.
 */
export interface ClaimFloor {
  /** Whether claims begin at a floor: as long as looking at everything takes its time. */
  readonly rises: boolean;
  /** Where claims of these names begin, in their order; for `claimDue`. */
  of(names: readonly string[]): readonly string[];
  /** Raises the floor, now and then, by a look from it on. */
  advance(names: readonly string[]): Promise<void>;
  /** Sets the floor anew by a look at everything; returns how long it took the server, in milliseconds. */
  reset(names: readonly string[]): Promise<number>;
  /** Of what priorities there are. */
  note(tasks: readonly ClaimedTask[]): void;
}

export function createClaimFloor(database: Database, clock: Clock, slowFromMs = slowMs): ClaimFloor {
  // By name and priority, of all that were seen.
  const places = new Map<string, Map<number, Place>>();
  let rises = false;
  let lookedAtMs = -Infinity;
  // How often it was set anew: what was found before that must not raise it over what has been found since.
  let resets = 0;

  function placesOf(name: string): Map<number, Place> {
    let known = places.get(name);
    if (known === undefined) places.set(name, (known = new Map()));
    return known;
  }

  /** Looks at the first task of each range, from the places that `from` gives on. */
  async function look(
    names: readonly string[],
    from: (place: Place) => Place,
  ): Promise<{ readonly tookMs: number; readonly apply: () => void }> {
    const asked = names.map(
      (name) => new Map([...placesOf(name)].map(([priority, at]) => [priority, from(at)])),
    );
    const { tookMs, settled, heads } = await database.one<Look>(lookAtHeads(names, asked.map(lineFrom)));
    const apply = (): void => {
      lookedAtMs = clock.monotonicMs();
      const end: Place = { run_at: settled, seq: 0 };
      // Only those that were asked for: of a priority that has been seen since, nothing is known.
      for (const [index, name] of names.entries())
        for (const priority of asked[index]?.keys() ?? []) placesOf(name).set(priority, end);
      for (const { name, priority, run_at, seq, recent } of heads)
        placesOf(name).set(priority, recent ? end : { run_at, seq });
    };
    return { tookMs, apply };
  }

  return {
    get rises() {
      return rises;
    },
    of: (names) => names.map((name) => (rises ? lineFrom(placesOf(name)) : wholeLine)),
    async advance(names) {
      if (!rises || clock.monotonicMs() - lookedAtMs < advanceEveryMs) return;
      const before = resets;
      const { apply } = await look(names, (place) => place);
      if (resets === before) apply();
    },
    async reset(names) {
      const { tookMs, apply } = await look(names, () => beginning);
      resets += 1;
      apply();
      rises = tookMs >= slowFromMs;
      return tookMs;
    },
    note(tasks) {
      for (const { name, priority } of tasks) {
        const known = placesOf(name);
        if (!known.has(priority)) known.set(priority, beginning);
      }
    },
  };
}

/** The ranges that make up a line, in order: each priority that is known from its place on, and those between. */
function lineFrom(known: ReadonlyMap<number, Place>): string {
  if (known.size === 0 || known.size > mostPriorities) return wholeLine;
  const ranges: Range[] = [];
  let low = lowest;
  for (const [priority, place] of [...known].toSorted(([a], [b]) => a - b)) {
    if (low < priority) ranges.push({ low, high: priority - 1, ...beginning });
    ranges.push({ low: priority, high: priority, ...place });
    low = priority + 1;
  }
  if (low <= highest) ranges.push({ low, high: highest, ...beginning });
  return JSON.stringify(ranges);
}

/** The ranges of a line, as a part of a statement. */
export const rangesIn = (line: Sql): Sql =>
  sql`jsonb_to_recordset(${line}) as range (low smallint, high smallint, run_at timestamptz, seq bigint)`;

/** The ready tasks of a range. */
export const readyIn = (name: Sql): Sql =>
  sql`t.name = ${name} and t.state = 'ready' and t.priority <= range.high
    and (t.priority, t.run_at, t.seq) >= (range.low, range.run_at, range.seq)`;

interface Look {
  readonly tookMs: number;
  /** Before this, transactions that are not long have committed what they wrote. */
  readonly settled: string;
  readonly heads: readonly (Place & {
    readonly name: string;
    readonly priority: number;
    /** Not before `settled`. */
    readonly recent: boolean;
  })[];
}

/** The first ready task of each range. */
function lookAtHeads(names: readonly string[], lines: readonly string[]): Sql {
  return sql`
    select extract(epoch from clock_timestamp() - statement_timestamp())::float8 * 1000 as "tookMs", settled::text,
      coalesce(jsonb_agg(jsonb_build_object('name', name, 'priority', priority, 'run_at', run_at, 'seq', seq,
        'recent', run_at >= settled)) filter (where seq is not null), '[]') as heads
    from (values (now() - ${settledMs}::float8 * interval '1 millisecond')) moment (settled) left join (
      select line.name, head.* from unnest(${names}::text[], ${lines}::jsonb[]) line (name, ranges)
        cross join lateral ${rangesIn(sql`line.ranges`)}
        cross join lateral (
          select t.priority, t.run_at, t.seq from plimsoll.task t where ${readyIn(sql`line.name`)}
          order by t.priority, t.run_at, t.seq limit 1) head) first on true
    group by settled`;
}
