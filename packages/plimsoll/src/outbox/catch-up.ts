import type { Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { feedDefaults, feedOnce, isBacklogged, type FeedLimits } from './feed.ts';
import { catchUpReader } from './subscriptions.ts';

interface Behind {
  readonly name: string;
  readonly eventType: string;
  readonly reached: number;
}

/**
 * Brings a subscription that is not live yet the next events of the log. The relay makes it no deliveries
 * meanwhile; the last stretch is read under the lock on the sequencer, and from the position after it on the
 * subscription is live: nothing falls between, and nothing is in both. Returns whether there is more to do at once.
 */
export async function catchUp(database: Database, limits: FeedLimits = feedDefaults): Promise<boolean> {
  const behind = await database.query<Behind>(sql`
    select s.name, s.event_type as "eventType", r.position as reached
    from plimsoll.subscription s join plimsoll.log_reader r on r.name = 'subscription:' || s.name
    where s.live_from is null order by r.updated_at`);
  let more = false;
  for (const { name } of behind)
    more = (await database.transaction((tx) => catchUpOnce(tx, name, limits))) || more;
  return more;
}

async function catchUpOnce(tx: Transaction, name: string, limits: FeedLimits): Promise<boolean> {
  const reader = catchUpReader(name);
  const near = await tx.maybeOne<{ near: boolean }>(sql`
    select r.position + ${limits.stretch} >= q.position as near
    from plimsoll.log_reader r, plimsoll.sequencer q where r.name = ${reader}`);
  if (near === undefined) return false;
  // Before the rows of the subscription, in the order in which everybody takes them.
  const { position: head } = await tx.one<{ position: number }>(
    near.near
      ? sql`select position::float8 from plimsoll.sequencer for update`
      : sql`select position::float8 from plimsoll.sequencer`,
  );
  const own = await tx.maybeOne<Behind>(sql`
    select s.name, s.event_type as "eventType", r.position::float8 as reached
    from plimsoll.subscription s join plimsoll.log_reader r on r.name = ${reader}
    where s.name = ${name} and s.live_from is null for update skip locked`);
  // Another relay is at it, or has finished.
  if (own === undefined || (await isBacklogged(tx, name, limits))) return false;
  const feed = { reader, subscription: name, filter: { type: own.eventType }, until: head };
  const { position } = await feedOnce(tx, feed, own.reached, limits);
  if (!near.near || position < head) return true;
  await tx.execute(sql`update plimsoll.subscription set live_from = ${head + 1} where name = ${name}`);
  await tx.execute(sql`delete from plimsoll.log_reader where name = ${reader}`);
  return false;
}
