import { createHash } from 'node:crypto';
import pg from 'pg';
import type { Cache } from '../cache/cache.ts';
import { createCache } from '../cache/create-cache.ts';
import { postgresBus } from '../cache/postgres-bus.ts';
import { invalidationTruth } from '../cache/truth.ts';
import { postgresCacheStore } from '../cache/postgres-store.ts';
import { createInvalidationRelay, type InvalidationRelay } from '../cache/relay.ts';
import type { CacheOptions } from '../cache/options.ts';
import type { Database } from '../database/database.ts';
import { jsonSchemaOf } from '../gateway/json-schema.ts';
import { background } from '../kernel/channels.ts';
import type { AnyQuery } from '../modules/contract.ts';
import { InvalidationCheck } from '../modules/invalidation-check.ts';
import { createQueryCaches, type AnswerQuery } from '../modules/query-cache.ts';
import type { Plan } from './plan.ts';
import type { CachePlan } from './plan-options.ts';

/** The cache of an app's queries, with what it needs. */
export interface AppCache {
  readonly cache: Cache;
  readonly relay: InvalidationRelay;
  readonly check: InvalidationCheck;
  readonly queries: ReadonlyMap<string, AnswerQuery>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

const maxConnections = 3;

/**
 * Opens no connection before its start. Its connections are its own, so that questions to the cache do not take those
 * of the work.
 */
export function openAppCache(
  plan: Plan,
  of: CachePlan,
  { url, database, scope }: { readonly url: string; readonly database: Database; readonly scope: object },
): AppCache {
  const { queries, shared = 'database', bus = 'database' } = of;
  const production = process.env['NODE_ENV'] === 'production';
  const refuse = (of.missed ?? (production ? 'report' : 'refuse')) === 'refuse';
  const pool = new pg.Pool({
    connectionString: url,
    max: maxConnections,
    connectionTimeoutMillis: 1_000,
    statement_timeout: 1_000,
    application_name: `${plan.name} cache`,
    keepAlive: true,
  });
  pool.on('error', (error) => background.publish({ scope, what: 'idle connection of the cache', error }));
  const epoch = (): string | undefined => database.routing().epoch;
  const options: CacheOptions = {
    name: plan.name,
    scope,
    // As the token of a client names what it has written.
    database: database.name,
    processes: of.processes ?? 'several',
    ...(of.process === undefined ? {} : { process: of.process }),
    ...(of.sampleEvery === undefined ? {} : { sampleEvery: of.sampleEvery }),
    ...(shared === false ? {} : { shared: shared === 'database' ? postgresCacheStore(pool) : shared }),
    // Where nothing is kept in the process there is nothing to be told.
    ...(bus === false || of.process === false
      ? {}
      : {
          bus: bus === 'database' ? postgresBus({ client: pool, listenUrl: url }) : bus,
          truth: invalidationTruth({ database, epoch }),
        }),
  };
  const cache = createCache(options);
  const relay = createInvalidationRelay({
    database,
    caches: [cache],
    epoch,
    scope,
    ...(of.purgers === undefined ? {} : { purgers: of.purgers }),
  });
  const check = new InvalidationCheck({ queries, scope, refuse });
  return {
    cache,
    relay,
    check,
    queries: createQueryCaches({ cache, queries, check, formOf, strict: !production }),
    async start() {
      // Without a history the primary cannot say what this process has missed; that is asked as the cache starts.
      await database.settle(database.seenUntilNow()).catch(() => undefined);
      await cache.start();
      await relay.start();
    },
    async stop() {
      await relay.stop();
      await cache.stop();
      await pool.end();
    },
  };
}

/** Short, and another one when the schema of the answers is, as far as its library tells. */
function formOf({ output }: AnyQuery): string {
  const schema = JSON.stringify(jsonSchemaOf(output, 'output'));
  return `@${createHash('sha256').update(schema).digest('base64url').slice(0, 8)}`;
}
