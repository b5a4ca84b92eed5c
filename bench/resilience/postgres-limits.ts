import { startCluster } from '@plimsoll/embedded';
import pg from 'pg';
import { createDatabase, migrate } from 'plimsoll/database';
import { postgresStore, rateLimitMigrations } from 'plimsoll/rate-limit';
import { RateLimiterPostgres } from 'rate-limiter-flexible';
import type { Opening } from './compare.ts';
import { flexibleTake, hourMs, limitSubjects, plimsollTake, type Limiter } from './limiters.ts';

export const postgresLimitsName = 'rate limit in PostgreSQL, 64 callers';

/** A private server on this machine, with its default durability; each subject has a pool of 8. */
export const postgresLimits: Opening = async () => {
  const closing: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const end of closing.splice(0).toReversed()) await end();
  };
  try {
    const cluster = await startCluster();
    closing.push(() => cluster.stop());
    const { url } = cluster.primary;
    const database = createDatabase({ url });
    closing.push(() => database.close());
    await migrate(database, [rateLimitMigrations]);
    const pool = (): pg.Pool => {
      const made = new pg.Pool({ connectionString: url, max: 8 });
      closing.push(() => made.end());
      return made;
    };
    const [own, flexible] = [pool(), pool()];
    const limiters: readonly Limiter[] = [
      {
        name: 'plimsoll',
        setting:
          'postgresStore, GCRA, its unlogged table, pg pool of 8; the callers of one turn of the event loop share a statement',
        make: (name, limit) => plimsollTake(name, { kind: 'rate', limit, perMs: hourMs }, postgresStore(own)),
      },
      {
        name: 'rate-limiter-flexible',
        setting: 'RateLimiterPostgres, fixed window, the table it makes (logged), pg pool of 8',
        async make(name, points) {
          const { promise, resolve, reject } = Promise.withResolvers<void>();
          const limiter = new RateLimiterPostgres(
            {
              storeClient: flexible,
              keyPrefix: name,
              tableName: 'rate_limiter_flexible',
              points,
              duration: hourMs / 1_000,
              clearExpiredByTimeout: false,
            },
            (error?: Error) => (error === undefined ? resolve() : reject(error)),
          );
          await promise;
          return flexibleTake(limiter);
        },
      },
    ];
    return {
      name: postgresLimitsName,
      baseline: 'rate-limiter-flexible',
      burstMs: 400,
      withServer: true,
      subjects: limitSubjects(limiters, { callers: 64 }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
};
