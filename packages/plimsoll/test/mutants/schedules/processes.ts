import type { InvalidationBus } from '../../../src/cache/bus.ts';
import type { Cache } from '../../../src/cache/cache.ts';
import type { CacheOptions } from '../../../src/cache/options.ts';
import type { SharedStore } from '../../../src/cache/shared-store.ts';
import type { Database } from '../../../src/database/database.ts';
import { HeldBus, type Play, type Schedule } from '../play.ts';
import { until } from '../stage.ts';

/** Nothing is late but what the schedule holds. */
const alone = { replicaUrls: [] };

interface Processes {
  readonly database: Database;
  readonly here: Cache;
  readonly there: Cache;
  /** What `there` hears. */
  readonly bus: HeldBus;
}

/** Two caches on one bus, each with its own process tier; the second one has the row already. */
async function twoProcesses(
  play: Play,
  optionsOf?: (database: Database) => Partial<CacheOptions>,
): Promise<Processes> {
  const { postgresBus } = play.library;
  const database = await play.database();
  const open = (): ReturnType<typeof postgresBus> =>
    postgresBus({ client: play.pool(), listenUrl: play.stage.server.url, pollMs: 20 });
  const bus = new HeldBus(open());
  const here = await play.cache(database, { processes: 'several', bus: open() });
  const there = await play.cache(database, {
    processes: 'several',
    bus,
    ...optionsOf?.(database),
  });
  await play.get(play.session('visitor'), there, database);
  return { database, here, there, bus };
}

const heard: Schedule = {
  name: 'own write, then the cache of another process that has been told',
  hurts: 'Who has bought the last one sees it on offer until the cache of that process ends it.',
  async run(play) {
    const { database, here, there, bus } = await twoProcesses(play);
    const customer = play.session('customer');
    const at = await play.write(customer, database);
    await here.invalidate({ tags: [play.tag], at });
    await until('the other process to be told', () => bus.messages > 0);
    play.hop(customer);
    await play.get(customer, there, database);
  },
};

/** Tags of what one request has changed besides. */
const others = (count: number, length: number): string[] =>
  Array.from({ length: count }, (_, n) => `line:${n}`.padEnd(length, '.'));

async function writeTouching(
  play: Play,
  { database, here, there, bus }: Processes,
  tags: readonly string[],
): Promise<void> {
  bus.hold();
  const customer = play.session('customer');
  const at = await play.write(customer, database);
  const touched = [play.tag, ...tags];
  customer.seen.noteWritten(database.name, at.epoch, at.lsn, touched);
  await here.invalidate({ tags: touched, at });
  await until('the message to be held back', () => bus.held > 0);
  play.hop(customer);
  await play.get(customer, there, database);
}

const untold: Schedule = {
  name: 'own write, then the cache of another process that has not been told',
  hurts: 'Who is quicker than the bus sees the page from before his own click.',
  run: async (play) => writeTouching(play, await twoProcesses(play), []),
};

const manyTags: Schedule = {
  name: 'own write of more tags than a token remembers, then an untold process',
  hurts: 'Who has imported forty lines sees the list without them.',
  run: async (play) => writeTouching(play, await twoProcesses(play), others(40, 8)),
};

const longTags: Schedule = {
  name: 'own write of tags too long for a token, then an untold process',
  hurts: 'The same, with few lines that have long names.',
  run: async (play) => writeTouching(play, await twoProcesses(play), others(25, 120)),
};

const joined: Schedule = {
  name: 'own write, then a load that another process began before it',
  hurts: 'Who reloads a slow page right after a change waits for the page from before it.',
  async run(play) {
    const { postgresBus } = play.library;
    const database = await play.database();
    const open = (): ReturnType<typeof postgresBus> =>
      postgresBus({ client: play.pool(), listenUrl: play.stage.server.url, pollMs: 20 });
    const bus = new HeldBus(open());
    const here = await play.cache(database, { processes: 'several', bus: open() });
    const there = await play.cache(database, { processes: 'several', bus });
    const held = play.heldLoader(database);
    const slow = play.get(play.session('visitor'), there, database, held.load);
    await held.read;
    bus.hold();
    const customer = play.session('customer');
    const at = await play.write(customer, database);
    customer.seen.noteWritten(database.name, at.epoch, at.lsn, [play.tag]);
    await here.invalidate({ tags: [play.tag], at });
    play.hop(customer);
    const reading = play.get(customer, there, database);
    held.release();
    await Promise.all([slow, reading]);
  },
};

const lostMessage: Schedule = {
  name: 'own write, whose message was lost on the way to another process',
  hurts:
    'Who was served by a process that slept through a minute of messages sees yesterday, for as long as the entry lives.',
  async run(play) {
    const { stage, library } = play;
    const { postgresBus, sql } = library;
    const database = await play.database(alone);
    const [pool, awake] = [play.pool(), Promise.withResolvers<void>()];
    let sleeps: Promise<void> | undefined = undefined;
    let waiting = 0;
    const client = {
      async query(text: string, values: unknown[]) {
        waiting += 1;
        await sleeps;
        waiting -= 1;
        return await pool.query(text, values);
      },
    };
    const options = { pollMs: 20, silentMs: 600_000 };
    const bus = new HeldBus(postgresBus({ client, ...options }));
    const here = await play.cache(database, {
      processes: 'several',
      bus: postgresBus({ client: play.pool(), ...options }),
    });
    const there = await play.cache(database, { processes: 'several', bus });
    await play.get(play.session('visitor'), there, database);
    sleeps = awake.promise;
    await until('the other process to sleep', () => waiting > 0);
    const customer = play.session('customer');
    const at = await play.write(customer, database);
    await here.invalidate({ tags: [play.tag], at });
    // As what is older than a minute is.
    await stage.admin.execute(sql`delete from plimsoll.cache_bus where name = ${play.key}`);
    await here.invalidate({ tags: ['something else'] });
    awake.resolve();
    await until('the other process to hear again', () => bus.messages > 0 || bus.distrusts > 0);
    play.hop(customer);
    await play.get(customer, there, database);
  },
};

const startedAfter: Schedule = {
  name: 'own write, then a process that was started after it and reads a late replica',
  hurts:
    'Whoever is sent to a process of the latest deploy sees what was replaced before it began, for an hour.',
  async run(play) {
    const { stage, library } = play;
    await stage.pause(stage.one, stage.two);
    const database = await play.database();
    const open = (): InvalidationBus =>
      library.postgresBus({ client: play.pool(), listenUrl: stage.server.url, pollMs: 20 });
    const here = await play.cache(database, { processes: 'several', bus: open() });
    const customer = play.session('customer');
    const at = await play.write(customer, database);
    await here.invalidate({ tags: [play.tag], at });
    const there = await play.cache(database, { processes: 'several', bus: open() });
    await play.get(play.session('visitor'), there, database);
    play.hop(customer);
    await play.get(customer, there, database);
  },
};

/** A store that cannot be told of invalidations for the time being; all else goes through. */
function deafStore(store: SharedStore): SharedStore {
  return {
    open(options) {
      const table = store.open(options);
      return {
        read: (ask) => table.read(ask),
        fill: (fill) => table.fill(fill),
        renew: (...lease) => table.renew(...lease),
        release: (key, owner) => table.release(key, owner),
        invalidate: async () => {
          throw new Error('not now');
        },
      };
    },
  };
}

const deaf: Schedule = {
  name: 'own write, of which the shared tier could not be told yet',
  hurts: 'Who writes while the shared tier has a bad moment reads there what he has just replaced.',
  async run(play) {
    const database = await play.database(alone);
    const store = play.library.postgresCacheStore(play.pool());
    const cache = await play.cache(database, { process: false, shared: deafStore(store) });
    const customer = play.session('customer');
    await play.get(play.session('visitor'), cache, database);
    await untilFilled(play);
    await play.write(customer, database);
    // Without a position, which would do here by itself.
    await cache.invalidate({ tags: [play.tag] });
    await play.get(customer, cache, database);
  },
};

async function untilFilled({ stage, library: { sql }, key }: Play): Promise<void> {
  await until('the fill to be in the shared tier', async () => {
    const filled = await stage.admin.query(
      sql`select from plimsoll.cache_value where slot like ${`${key}:%`}`,
    );
    return filled.length === 1;
  });
}

const diedUntold: Schedule = {
  name: 'own write, whose process died before it could tell the shared tier',
  hurts: 'Who wrote in the moment before a crash never sees it, until the entry ends.',
  async run(play) {
    const { stage, library } = play;
    const { createInvalidationRelay, postgresCacheStore, recordInvalidation, sql } = library;
    const database = await play.database();
    const store = postgresCacheStore(play.pool());
    const here = await play.cache(database, { process: false, shared: deafStore(store) });
    const there = await play.cache(database, { process: false, shared: store });
    await play.get(play.session('visitor'), there, database);
    await untilFilled(play);
    const customer = play.session('customer');
    const relay = createInvalidationRelay({ database, caches: [here], pollMs: 20, olderThanMs: 600_000 });
    await relay.start();
    let recorded: Awaited<ReturnType<typeof recordInvalidation>> | undefined;
    const at = await play.write(customer, database, async (tx) => {
      recorded = await recordInvalidation(tx, here.name, { tags: [play.tag] });
    });
    if (recorded !== undefined) await relay.published(recorded, at);
    // Its last round deletes what it has published; then the process is gone.
    await relay.stop();
    await here.stop();
    const { epoch } = at;
    const successor = createInvalidationRelay({
      database,
      caches: [there],
      epoch: () => epoch,
      pollMs: 20,
      olderThanMs: 0,
    });
    await successor.start();
    play.onEnd(() => successor.stop());
    await until('the row to be published', async () => {
      const rows = await stage.admin.query(
        sql`select from plimsoll.invalidation where cache = ${there.name}`,
      );
      return rows.length === 0;
    });
    play.hop(customer);
    await play.get(customer, there, database);
  },
};

const synchronous: Schedule = {
  name: 'own write that waits for a standby, and a load from the primary meanwhile',
  hurts:
    'Who pays where money is on two machines sees the bill as open, in the process that looked while the second one wrote.',
  async run(play) {
    const { stage } = play;
    const processes = await twoProcesses(play);
    const { database, here, there, bus } = processes;
    const writer = await play.database({ replicaUrls: [] });
    const onPrimary = play.loader(database, 'strong');
    const customer = play.session('customer');
    // A commit that nobody else's log comes after; with the server's own, once in a while, the next round has it.
    for (let round = 0; round < 3; round += 1) {
      bus.hold();
      const before = await stage.positionOf(stage.server.url);
      await stage.waitForStandby('nobody');
      const writing = play.write(customer, writer);
      await until('the commit to wait', async () => {
        const { sql } = play.library;
        const waiting = await stage.admin.query(
          sql`select from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()`,
        );
        return waiting.length === 1 && (await stage.positionOf(stage.server.url)) > before;
      });
      await there.invalidate({ tags: [play.tag] });
      await play.get(play.session('visitor'), there, database, onPrimary);
      await stage.waitForStandby('');
      const at = await writing;
      customer.seen.noteWritten(database.name, at.epoch, at.lsn, [play.tag]);
      await here.invalidate({ tags: [play.tag], at });
      play.hop(customer);
      await play.get(customer, there, database, onPrimary);
    }
  },
};

const truthOf =
  ({ library }: Play, options: Partial<CacheOptions> = {}) =>
  (database: Database): Partial<CacheOptions> => ({
    truth: library.invalidationTruth({ database, epoch: () => database.routing().epoch }),
    ...options,
  });

/** Its invalidation is a row that nobody has published yet. */
const writeRow = (play: Play, database: Database, cache: Cache): Promise<unknown> =>
  play.write(play.session('writer'), database, (tx) =>
    play.library.recordInvalidation(tx, cache.name, { tags: [play.tag] }),
  );

const readElsewhere: Schedule = {
  name: "somebody's write seen through the router, then the cache of an untold process",
  hurts: 'Who reloads a page is shown what it was before, by the process that has not heard of it.',
  async run(play) {
    const { database, there } = await twoProcesses(play, truthOf(play));
    await writeRow(play, database, there);
    const reader = play.session('reader');
    await play.read(reader, database, { consistency: 'strong' });
    await database.settle(reader.seen);
    play.hop(reader);
    await play.get(reader, there, database);
  },
};

const readWhileCommitting: Schedule = {
  name: "somebody's write that waits for a standby while another reader asks, then the cache of an untold process",
  hurts:
    'Who saw the payment is shown the open bill, by a process that asked while the payment was being copied.',
  async run(play) {
    const { stage } = play;
    const writer = await play.database(alone);
    const { database, there } = await twoProcesses(
      play,
      truthOf(play, { sharedSoftMs: 1_000, sharedHardMs: 2_000 }),
    );
    // As in the one above: the log may be written by the server itself meanwhile.
    for (let round = 0; round < 3; round += 1) {
      await play.get(play.session('visitor'), there, database);
      const before = await stage.positionOf(stage.server.url);
      await stage.waitForStandby('nobody');
      const writing = writeRow(play, writer, there);
      await until('the commit to wait', async () => {
        const { sql } = play.library;
        const waiting = await stage.admin.query(
          sql`select from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()`,
        );
        return waiting.length === 1 && (await stage.positionOf(stage.server.url)) > before;
      });
      const other = play.session('other');
      await play.read(other, database, { consistency: 'strong' });
      await database.settle(other.seen);
      await play.get(other, there, database, play.loader(database, 'strong'));
      await stage.waitForStandby('');
      await writing;
      const reader = play.session('reader');
      await play.read(reader, database, { consistency: 'strong' });
      await database.settle(reader.seen);
      play.hop(reader);
      await play.get(reader, there, database, play.loader(database, 'strong'));
    }
  },
};

export const processSchedules: readonly Schedule[] = [
  heard,
  untold,
  manyTags,
  longTags,
  joined,
  lostMessage,
  startedAfter,
  deaf,
  diedUntold,
  synchronous,
  readElsewhere,
  readWhileCommitting,
];
