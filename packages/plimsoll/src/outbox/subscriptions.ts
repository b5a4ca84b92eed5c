import type { Database } from '../database/database.ts';
import { sql, type Sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';

/**
 * Where a subscription begins that was not there before: with the events after it, with the oldest that are kept,
 * at a position, or with the first that was emitted at a time or later.
 */
export type StartFrom =
  | 'now'
  | 'beginning'
  | { readonly position: number }
  | { readonly time: Date | string };

export interface SubscriptionRecord {
  /** `orders.charge`: module and subscription; the name of its tasks. */
  readonly name: string;
  readonly module: string;
  readonly eventType: string;
  readonly maxAttempts: number;
  /** `key`: deliveries of one event key run one at a time, in the order of the log. Default: none waits. */
  readonly ordered?: 'key' | undefined;
  /** With `ordered`: whether a parked delivery holds back the later ones of its key. Default `block`. */
  readonly onPark?: 'block' | 'skip' | undefined;
  /** Counts when the subscription is recorded for the first time. Default `now`. */
  readonly from?: StartFrom | undefined;
}

export const subscriptionDefaults = {
  onPark: 'block',
  from: 'now',
  /** How long a subscription is remembered that no process lists any more. 10 minutes. */
  forgetAfterMs: 600_000,
} as const;

/** The reader of the log that catches a subscription up. */
export const catchUpReader = (subscription: string): string => `subscription:${subscription}`;

/**
 * Records the subscriptions of some modules, and forgets those of theirs that nobody has listed for a while: at
 * once would lose events, when during a deploy a process of the old code starts beside those of the new. A new one
 * is live from the next position on, or reads the log first.
 */
export async function recordSubscriptions(
  database: Database,
  subscriptions: readonly SubscriptionRecord[],
  modules: readonly string[],
  forgetAfterMs: number = subscriptionDefaults.forgetAfterMs,
): Promise<void> {
  const looks = await lookForTimes(database, subscriptions);
  await database.transaction(async (tx) => {
    // No position is given meanwhile, so that none is both before and after the start of a new one.
    const { position } = await tx.one<{ position: number }>(
      sql`select position::float8 from plimsoll.sequencer for update`,
    );
    const names = subscriptions.map((subscription) => subscription.name);
    await tx.execute(sql`
      with forgotten as (
        delete from plimsoll.subscription where module = any(${modules}) and not name = any(${names})
          and listed_at < now() - ${forgetAfterMs}::float8 * interval '1 millisecond' returning name
      )
      delete from plimsoll.log_reader where name in (select 'subscription:' || name from forgotten)`);
    for (const subscription of subscriptions)
      await record(tx, subscription, position, looks.get(subscription.name));
  });
}

async function record(
  tx: Transaction,
  subscription: SubscriptionRecord,
  position: number,
  look: Look | undefined,
): Promise<void> {
  const { name, module, eventType, maxAttempts, ordered } = subscription;
  const { onPark, from } = {
    onPark: subscription.onPark ?? subscriptionDefaults.onPark,
    from: subscription.from ?? subscriptionDefaults.from,
  };
  const { fresh } = await tx.one<{ fresh: boolean }>(sql`
    insert into plimsoll.subscription (name, module, event_type, max_attempts, ordered, on_park, live_from)
    values (${name}, ${module}, ${eventType}, ${maxAttempts}, ${ordered === 'key'}, ${onPark}, ${from === 'now' ? position + 1 : null})
    on conflict (name) do update set module = excluded.module, event_type = excluded.event_type,
      max_attempts = excluded.max_attempts, ordered = excluded.ordered, on_park = excluded.on_park, listed_at = now()
    returning xmax = 0 as fresh`);
  if (!fresh || from === 'now') return;
  const before = await lastBefore(tx, from, position, look);
  await tx.execute(sql`
    insert into plimsoll.log_reader (name, position) values (${catchUpReader(name)}, ${before})
    on conflict (name) do update set position = excluded.position, updated_at = now()`);
}

/** What a look for a time found in the log. */
interface Look {
  /** The first event of that time or later. */
  readonly first: number | null;
  /** How far it looked. */
  readonly upTo: number;
}

/**
 * Where the log has the times from which new subscriptions begin. No index leads there, so all of it may be looked at:
 * before the lock, under which no position is given.
 */
async function lookForTimes(
  database: Database,
  subscriptions: readonly SubscriptionRecord[],
): Promise<ReadonlyMap<string, Look>> {
  const looks = new Map<string, Look>();
  for (const { name, from } of subscriptions) {
    if (typeof from !== 'object' || !('time' in from)) continue;
    const look = await database.maybeOne<Look>(sql`
      select (select min(position) from plimsoll.event where ${since(from.time)})::float8 as first, position::float8 as "upTo"
      from plimsoll.sequencer where not exists (select 1 from plimsoll.subscription where name = ${name})`);
    if (look !== undefined) looks.set(name, look);
  }
  return looks;
}

const since = (time: Date | string): Sql => sql`at >= ${new Date(time)}`;

/** The position behind which to begin. */
async function lastBefore(
  tx: Transaction,
  from: Exclude<StartFrom, 'now'>,
  position: number,
  look: Look = { first: null, upTo: 0 },
): Promise<number> {
  if (from !== 'beginning' && 'position' in from) return Math.min(from.position - 1, position);
  if (look.first !== null) return look.first - 1;
  // Only what was logged since the look is looked at under the lock.
  const wanted = from === 'beginning' ? sql`true` : sql`position > ${look.upTo} and ${since(from.time)}`;
  const { first } = await tx.one<{ first: number | null }>(
    sql`select min(position)::float8 as first from plimsoll.event where ${wanted}`,
  );
  return (first ?? position + 1) - 1;
}
