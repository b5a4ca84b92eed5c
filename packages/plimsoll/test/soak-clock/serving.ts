import {
  cachePolicy,
  createCache,
  createInvalidationRelay,
  insertInvalidation,
  invalidationTruth,
} from 'plimsoll/cache';
import type { InvalidationBus, SharedStore } from 'plimsoll/cache';
import { createDatabase, Seen, seenTokens, sql, type Queryable } from 'plimsoll/database';
import { systemClock } from '../../src/kernel/clock.ts';
import { createContext, currentContext, runInContext } from '../../src/kernel/context.ts';
import { cacheTiers } from './cache-tiers.ts';
import { createOthers } from './others.ts';
import { isOurs, windowMs, type Answer, type Asked, type ProcessSettings } from './protocol.ts';

/** What a request may take in all. */
const deadlineMs = 3_000;

export interface Serving {
  serve(asked: Asked): Promise<Answer>;
}

interface Row {
  readonly version: number;
  readonly history: number;
  readonly note: string;
}

export const findRow = (key: string) => sql`select version, history, note from kv where key = ${key}`;

/** `history` is the timeline that the writer's primary is on. */
export const raiseRow = (key: string, note: string) => sql`
  update kv set version = version + 1, note = ${note},
    history = ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
  where key = ${key} returning version, history`;

export async function createServing(settings: ProcessSettings): Promise<Serving> {
  const { primaryUrl, replicaUrls } = settings;
  const database = createDatabase({
    url: primaryUrl,
    replicaUrls: [...replicaUrls],
    pool: { max: 12 },
    // What is late stays in the rotation, so that only what readers have seen keeps them away from it.
    routing: { windowMs, pollTimeoutMs: 500, lagBudgetMs: 10_000, lagBudgetBytes: 2 ** 30 },
  });
  const tiers: { shared: SharedStore; bus: InvalidationBus; close(): Promise<void> } =
    await cacheTiers(settings);
  const cache = createCache({
    name: 'clock',
    processes: 'several',
    database: database.name,
    shared: tiers.shared,
    bus: tiers.bus,
    truth: invalidationTruth({ database, epoch: () => database.routing().epoch }),
    // More than by default, so that the shared tier is used on a busy machine as well.
    sharedSoftMs: 200,
    sharedHardMs: 500,
  });
  const relay = createInvalidationRelay({
    database,
    caches: [cache],
    epoch: () => database.routing().epoch,
    pollMs: 200,
    olderThanMs: 500,
  });
  const tokens = seenTokens(settings.secret);
  const others = createOthers(settings);
  const rows = cachePolicy({ ttlMs: 3_600_000, tags: (key) => [`kv:${key}`], failureMs: 50 });
  const find = (key: string) => (db: Queryable) => db.one<Row>(findRow(key));
  await Promise.all([cache.start(), relay.start(), database.ping().catch(() => undefined)]);

  async function write(key: string, note: string, seen: Seen): Promise<Answer> {
    const tags = [`kv:${key}`];
    const { row, id } = await database.transaction(async (tx) => {
      const raised = await tx.one<{ version: number; history: number }>(raiseRow(key, note));
      const recorded = await tx.one<{ id: string }>(insertInvalidation(cache.name, { tags }));
      return { row: raised, id: recorded.id };
    });
    let at = seen;
    if (seen.isUnknown(database.name)) {
      // It was committed, and its position is not known: one from now is past it.
      at = database.seenUntilNow();
      await database.settle(at);
    }
    const mark = at.mark(database.name);
    if (mark === undefined || at.isUnknown(database.name)) return { version: undefined };
    seen.noteWritten(database.name, mark.epoch, mark.written, tags);
    await relay.published(
      { id, cache: cache.name, tags, keys: [] },
      { epoch: mark.epoch, lsn: mark.written },
    );
    return row;
  }

  async function work(asked: Asked, seen: Seen): Promise<Answer> {
    switch (asked.do) {
      case 'read': {
        if (asked.path === 'database')
          return {
            ...(await database.readOnly(find(asked.key), {
              consistency: asked.policy === 'window in token' ? 'window' : 'session',
            })),
            level: 'session',
          };
        let pastCache = false;
        // The loader's context has seen exactly what it must read; past the cache it is the reader's own.
        const row = await cache.get(asked.key, rows, () => {
          pastCache = currentContext()?.seen === seen;
          return database.readOnly(find(asked.key));
        });
        return { ...row, level: 'ryw', pastCache };
      }
      case 'write':
        return await write(asked.key, asked.note, seen);
      case 'leave':
        return await database.one<{ id: number }>(
          sql`insert into left_token (token) values (${asked.token ?? ''}) returning id`,
        );
      case 'take': {
        const { token } = await database.one<{ token: string }>(
          sql`delete from left_token where id = ${asked.id} returning token`,
        );
        seen.mergeAll((asked.as === 'job' ? undefined : tokens.read(token)) ?? database.seenUntilNow());
        if (asked.as === 'job') await database.settle(seen);
        return {};
      }
      case 'stats': {
        const { processHits, sharedHits, loads, bypassed, rejectedFills, refreshes, unheard } = cache.state();
        const { reads, offload, fallback, refused, waited, primaryReasons } = database.routing();
        const routing = { reads, offload, fallback, refused, waited, primaryReasons };
        return {
          stats: {
            routing,
            others: others.counts(),
            cache: { processHits, sharedHits, loads, bypassed, rejectedFills, refreshes, unheard },
          },
        };
      }
      case 'stop':
        await Promise.allSettled([relay.stop(), cache.stop()]);
        await Promise.allSettled([database.close(), tiers.close(), others.close()]);
        return {};
    }
  }

  async function serve(asked: Asked): Promise<Answer> {
    if (!isOurs(asked.policy) && (asked.do === 'read' || asked.do === 'write'))
      return await others.serve(asked);
    const seen = (asked.token === undefined ? undefined : tokens.read(asked.token)) ?? new Seen();
    const deadlineAtMs = systemClock.monotonicMs() + deadlineMs;
    let answer: Answer;
    try {
      answer = await runInContext(createContext({ seen, deadlineAtMs }), () => work(asked, seen));
    } catch (error) {
      answer = { error: error instanceof Error ? error.message : String(error) };
    }
    // A client is told what it has seen, also with an answer that failed.
    if (asked.do !== 'stats' && asked.do !== 'stop' && asked.do !== 'leave') {
      await database.settle(seen).catch(() => undefined);
      return { ...answer, token: tokens.write(seen) };
    }
    return answer;
  }

  return { serve };
}
