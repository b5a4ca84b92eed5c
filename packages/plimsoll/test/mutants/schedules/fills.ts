import type { Schedule } from '../play.ts';
import { until } from '../stage.ts';

/** Nothing is late but what the schedule holds. */
const alone = { replicaUrls: [] };

const slowFill: Schedule = {
  name: 'a slow load, and a write meanwhile',
  hurts: 'Who has corrected a price sees the wrong one for an hour, and so does everybody.',
  async run(play) {
    const database = await play.database(alone);
    const cache = await play.cache(database);
    const [editor, visitor] = [play.session('editor'), play.session('visitor')];
    const held = play.heldLoader(database);
    const slow = play.get(visitor, cache, database, held.load);
    await held.read;
    await play.write(editor, database);
    await cache.invalidate({ tags: [play.tag] });
    held.release();
    await slow;
    await play.get(editor, cache, database);
  },
};

const slowFillElsewhere: Schedule = {
  name: 'a slow load in another process, and a write meanwhile',
  hurts: 'The same, in all processes, because one of them was slow.',
  async run(play) {
    const { stage, library } = play;
    const { postgresCacheStore, sql } = library;
    const database = await play.database(alone);
    const shared = postgresCacheStore(play.pool());
    const here = await play.cache(database, { process: false, shared });
    const there = await play.cache(database, { process: false, shared });
    const [editor, visitor] = [play.session('editor'), play.session('visitor')];
    const held = play.heldLoader(database);
    const slow = play.get(visitor, there, database, held.load);
    await held.read;
    await play.write(editor, database);
    await here.invalidate({ tags: [play.tag] });
    held.release();
    await slow;
    // A fill ends its lease, whether it is kept or not.
    await until('the fill to have come', async () => {
      const leases = await stage.admin.query(
        sql`select from plimsoll.cache_lease where slot like ${`${play.key}:%`}`,
      );
      return leases.length === 0;
    });
    await play.get(editor, here, database);
  },
};

const lateRefill: Schedule = {
  name: 'a load from a late replica after a write',
  hurts: 'Who has published an article gets the draft, which the next visitor has put back into the cache.',
  async run(play) {
    const { stage } = play;
    await stage.pause(stage.one, stage.two);
    const database = await play.database();
    const cache = await play.cache(database);
    const [editor, visitor] = [play.session('editor'), play.session('visitor')];
    const at = await play.write(editor, database);
    await cache.invalidate({ tags: [play.tag], at });
    await play.get(visitor, cache, database);
    await play.get(editor, cache, database);
  },
};

const lateRefillElsewhere: Schedule = {
  name: 'a load from a late replica in another process after a write',
  hurts: 'The same, when the next visitor comes to a process that has never heard of the article.',
  async run(play) {
    const { stage } = play;
    await stage.pause(stage.one, stage.two);
    const database = await play.database();
    const shared = play.library.postgresCacheStore(play.pool());
    const here = await play.cache(database, { process: false, shared });
    const there = await play.cache(database, { process: false, shared });
    const [editor, visitor] = [play.session('editor'), play.session('visitor')];
    const at = await play.write(editor, database);
    await here.invalidate({ tags: [play.tag], at });
    await play.get(visitor, there, database);
    await play.get(editor, here, database);
  },
};

const writeThrough: Schedule = {
  name: 'a write through the cache, and a load before its commit',
  hurts: 'Who has cancelled a booking sees it as booked, if anybody looked at it while the cancellation ran.',
  async run(play) {
    const database = await play.database(alone);
    const cache = await play.cache(database);
    const [owner, visitor] = [play.session('owner'), play.session('visitor')];
    await cache.write(play.key, play.policy, async () => {
      const { version } = await play.write(owner, database, () => play.get(visitor, cache, database));
      return version;
    });
    await play.get(owner, cache, database);
  },
};

export const fillSchedules: readonly Schedule[] = [
  slowFill,
  slowFillElsewhere,
  lateRefill,
  lateRefillElsewhere,
  writeThrough,
];
