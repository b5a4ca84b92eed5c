import { parseLsn } from '../../../src/kernel/seen.ts';
import type { Schedule } from '../play.ts';
import { until } from '../stage.ts';

/** No record of the log is that short, and no header of a page is longer. */
const header = 40n;

const delayedCommit: Schedule = {
  name: 'own write, commits replayed late',
  hurts: 'Who has paid sees the order as unpaid, and pays again.',
  async run(play) {
    const { stage, library } = play;
    const { sql } = library;
    await stage.delayCommits(stage.one, stage.two);
    const database = await play.database();
    const customer = play.session('customer');
    let before = 0n;
    await play.write(customer, database, async (tx) => {
      const row = await tx.one<{ at: string }>(sql`select pg_current_wal_insert_lsn()::text as at`);
      before = parseLsn(row.at) ?? 0n;
    });
    // All of the transaction but its commit.
    for (const replica of [stage.one, stage.two])
      await until(
        'the log before the commit',
        async () => (await stage.positionOf(stage.urlOf(replica))) >= before - header,
      );
    await play.read(customer, database);
    await play.read(customer, database);
  },
};

const asynchronousCommit: Schedule = {
  name: 'own write, with synchronous_commit off',
  hurts: 'Who has put something into the basket finds it empty on the next page.',
  async run(play) {
    const { sql } = play.library;
    const database = await play.database();
    const customer = play.session('customer');
    for (let round = 0; round < 3; round += 1) {
      await play.write(customer, database, (tx) => tx.execute(sql`set local synchronous_commit = off`));
      await play.read(customer, database);
    }
  },
};

const otherReplica: Schedule = {
  name: 'read on one replica, then on an older one',
  hurts: 'Who has seen a message loses it when the page is loaded again.',
  async run(play) {
    const { stage } = play;
    const { sql } = play.library;
    const [near] = await Promise.all([
      play.database({ replicaUrls: [stage.urlOf(stage.one)] }),
      stage.pause(stage.two),
    ]);
    await stage.admin.execute(sql`update item set version = 2 where key = ${play.key}`);
    await stage.one.caughtUp();
    const reader = play.session('reader');
    await play.read(reader, near);
    play.hop(reader);
    const far = await play.database({ replicaUrls: [stage.urlOf(stage.two)] });
    await play.read(reader, far);
  },
};

const primaryFirst: Schedule = {
  name: 'read on the primary, then on replicas',
  hurts: 'Who was shown the balance at the till is shown an older one on the phone.',
  async run(play) {
    const { stage } = play;
    const { sql } = play.library;
    await stage.pause(stage.one, stage.two);
    const database = await play.database();
    await stage.admin.execute(sql`update item set version = 2 where key = ${play.key}`);
    const reader = play.session('reader');
    await play.read(reader, database, { consistency: 'strong' });
    await play.read(reader, database);
  },
};

const restarted: Schedule = {
  name: 'own write, on a replica that crashed and came back',
  hurts: 'Who comes back after lunch finds the morning gone.',
  async run(play) {
    const { stage } = play;
    const { sql } = play.library;
    const { one } = stage;
    // From where it begins again.
    await stage.admin.execute(sql`checkpoint`);
    await one.caughtUp();
    const there = await stage.connect(stage.urlOf(one));
    await there.query('checkpoint');
    await there.end();
    const database = await play.database({ replicaUrls: [stage.urlOf(one)], routing: { pollMs: 20 } });
    const customer = play.session('customer');
    await play.write(customer, database);
    await one.caughtUp();
    await play.read(customer, database);
    // What it has is not taken away; what it replays again comes late.
    await stage.delayCommits(one);
    await one.kill();
    await one.restart();
    await until('the replica to serve again', async () => {
      await database.readOnly((db) => db.query(play.find), { consistency: 'eventual' });
      return database.routing().replicas[0]?.out === undefined;
    });
    await play.read(customer, database);
  },
};

const hop: Schedule = {
  name: 'own write, next request in another process',
  hurts: 'Who has changed the address sees the old one, whenever the load balancer picks the other process.',
  async run(play) {
    const { stage } = play;
    await stage.pause(stage.one, stage.two);
    const [here, there] = await Promise.all([play.database(), play.database()]);
    const customer = play.session('customer');
    await play.write(customer, here);
    await play.read(customer, here);
    play.hop(customer);
    await play.read(customer, there);
  },
};

const lock = 7;

const replayedMeanwhile: Schedule = {
  name: 'own write, replayed while the read runs',
  hurts: 'Who reads in the very moment in which the replica catches up gets the row from before.',
  async run(play) {
    const { stage } = play;
    const { sql } = play.library;
    const there = await stage.connect(stage.urlOf(stage.one));
    play.onEnd(() => there.end());
    await there.query(`select pg_advisory_lock(${lock})`);
    await stage.pause(stage.one);
    const database = await play.database({ replicaUrls: [stage.urlOf(stage.one)] });
    const customer = play.session('customer');
    await play.write(customer, database);
    const text = sql`select version, pg_advisory_xact_lock_shared(${lock})::text as waited from item where key = ${play.key}`;
    let answered = false;
    const reading = play.read(customer, database, { text }).finally(() => (answered = true));
    await until('the read to be answered, or to wait on the replica', async () => {
      const waiting = await there.query(`select from pg_locks where locktype = 'advisory' and not granted`);
      return answered || waiting.rowCount === 1;
    });
    await stage.one.resume();
    await stage.one.caughtUp();
    await there.query(`select pg_advisory_unlock(${lock})`);
    await reading;
  },
};

export const readSchedules: readonly Schedule[] = [
  delayedCommit,
  asynchronousCommit,
  otherReplica,
  primaryFirst,
  restarted,
  hop,
  replayedMeanwhile,
];
