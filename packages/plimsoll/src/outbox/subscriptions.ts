import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
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
export function recordSubscriptions(
  database: Database,
  subscriptions: readonly SubscriptionRecord[],
  modules: readonly string[],
  forgetAfterMs: number = subscriptionDefaults.forgetAfterMs,
): Promise<void> {
  return database.transaction(async (tx) => {
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
    for (const subscription of subscriptions) await record(tx, subscription, position);
  });
}

async function record(tx: Transaction, subscription: SubscriptionRecord, position: number): Promise<void> {
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
  const before = await lastBefore(tx, from, position);
  await tx.execute(sql`
    insert into plimsoll.log_reader (name, position) values (${catchUpReader(name)}, ${before})
    on conflict (name) do update set position = excluded.position, updated_at = now()`);
}

/** The position behind which to begin. */
async function lastBefore(
  tx: Transaction,
  from: Exclude<StartFrom, 'now'>,
  position: number,
): Promise<number> {
  if (from !== 'beginning' && 'position' in from) return Math.min(from.position - 1, position);
  const wanted = from === 'beginning' ? sql`true` : sql`at >= ${new Date(from.time)}`;
  const { first } = await tx.one<{ first: number | null }>(
    sql`select min(position)::float8 as first from plimsoll.event where ${wanted}`,
  );
  return (first ?? position + 1) - 1;
}
