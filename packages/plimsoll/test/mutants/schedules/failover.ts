import type { Database } from '../../../src/database/database.ts';
import type { Play, Schedule, Session } from '../play.ts';
import { until } from '../stage.ts';

/** Connections were cut; a pool finds out one by one. */
async function writeWhenPossible(play: Play, session: Session, database: Database): Promise<bigint> {
  let lsn: bigint | undefined;
  await until('a write to the new primary', async () => {
    lsn = await play.write(session, database).then(
      (position) => position.lsn,
      () => undefined,
    );
    return lsn !== undefined;
  });
  return lsn ?? 0n;
}

/** A router that has known the old primary, and is then told another one by the same name. */
async function failOver(
  play: Play,
  pollMs: number,
): Promise<{ readonly database: Database; readonly customer: Session }> {
  const { stage } = play;
  const { relay, old, promoted } = await stage.fork();
  relay.pointTo(old);
  const zombie = stage.urlOf(stage.two);
  const database = await play.database({
    url: relay.through(old),
    replicaUrls: [zombie],
    routing: { pollMs, idlePollMs: pollMs },
  });
  relay.pointTo(promoted);
  const customer = play.session('customer');
  const written = await writeWhenPossible(play, customer, database);
  if ((await stage.positionOf(zombie)) < written)
    throw new Error('the replica of the lost history is not past the new one by number');
  return { database, customer };
}

const atOnce: Schedule = {
  name: 'own write after a failover, before any replica was asked again',
  hurts: 'Who orders in the first second after a failover sees no order.',
  async run(play) {
    const { database, customer } = await failOver(play, 600_000);
    // Of the connections that were cut, the first to be used is that which settles what is due.
    for (let read = 0; read < 4; read += 1) await play.read(customer, database);
  },
};

const zombie: Schedule = {
  name: 'own write after a failover, beside a replica of the lost history',
  hurts: 'Whoever is sent to the replica that nobody moved sees nothing new, for as long as it lives.',
  async run(play) {
    const { database, customer } = await failOver(play, 20);
    const { polls } = database.routing();
    // For longer than a replica that is well takes to come back.
    await until('some polls', async () => {
      await play.read(customer, database);
      return database.routing().polls > polls + 12;
    });
  },
};

/** After the others: from then on there are two primaries. */
export const failoverSchedules: readonly Schedule[] = [atOnce, zombie];
