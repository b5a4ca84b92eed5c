import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import pg from 'pg';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, expect, inject, test, type TestContext } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { Seen } from '../kernel/seen.ts';
import { noRedis, startRedis, type PrivateRedis } from '../redis/fixtures/redis-server.ts';
import { redisSeenStore } from '../redis/seen-store.ts';
import { postgresSeenStore } from './postgres-seen-store.ts';
import { seenFacts, seenStoreSuite } from './seen-store-suite.ts';
import type { SeenStore } from './seen-store.ts';
import { sessionMigrations } from './session-migrations.ts';

let server: TestDatabase;
let pool: pg.Pool;
let redis: PrivateRedis | undefined;
const clients: ReturnType<typeof connectTo>[] = [];

function connectTo(url: string) {
  const made = createClient({ url });
  // Without a listener, a lost connection ends the process.
  made.on('error', () => undefined);
  return made;
}

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  await using database = createDatabase({ url: server.url });
  await migrate(database, [sessionMigrations]);
  pool = new pg.Pool({ connectionString: server.url, max: 6 });
  if (noRedis !== undefined) return;
  redis = await startRedis();
  for (let n = 0; n < 2; n += 1) {
    const client = connectTo(redis.url);
    await client.connect();
    clients.push(client);
  }
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await redis?.stop();
  await pool?.end();
  await server?.drop();
});

/** Of each kind two, as in two processes. */
const kinds: readonly (readonly [string, () => readonly SeenStore[]])[] = [
  ['PostgreSQL', () => [postgresSeenStore(pool), postgresSeenStore(pool)]],
  ['Redis', () => clients.map((client) => redisSeenStore(client))],
];
function needsServer(ctx: TestContext, kind: string): void {
  if (kind === 'Redis' && noRedis !== undefined) ctx.skip(noRedis);
}

const aStep = fc.record({
  kind: fc.constantFrom('written', 'read', 'unknown'),
  database: fc.constantFrom('orders', 'mail'),
  epoch: fc.constantFrom('1.a', '2.a', '2.b', '10.a'),
  at: fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
  tags: fc.array(
    fc.nat(40).map((number) => `tag:${number}`),
    { maxLength: 6 },
  ),
});
type Step = typeof aStep extends fc.Arbitrary<infer Of> ? Of : never;

function seenOf(steps: readonly Step[]): Seen {
  const seen = new Seen();
  for (const { kind, database, epoch, at, tags } of steps) {
    if (kind === 'written') seen.noteWritten(database, epoch, at, tags);
    else if (kind === 'read') seen.noteRead(database, epoch, at);
    else seen.noteUnknown(database);
  }
  return seen;
}

/** Several clients of one user, each of which merges what it has seen; some at once, some one after the other. */
async function endsWithTheJoinOfAll(stores: readonly SeenStore[]): Promise<void> {
  const merges = fc.array(fc.array(aStep, { maxLength: 6, size: 'max' }), { maxLength: 5, size: 'max' });
  await fc.assert(
    fc.asyncProperty(fc.array(merges, { maxLength: 5, size: 'max' }), fc.boolean(), async (all, atOnce) => {
      const id = randomUUID();
      const sequence = async (client: Step[][], n: number): Promise<void> => {
        for (const steps of client) await stores[n % stores.length]!.merge(id, seenOf(steps), 3_600_000);
      };
      if (atOnce) await Promise.all(all.map(sequence));
      else for (const [n, client] of all.entries()) await sequence(client, n);
      const join = new Seen();
      for (const steps of all.flat()) join.mergeAll(seenOf(steps));
      expect(seenFacts(await stores[0]!.read(id))).toEqual(seenFacts(join));
    }),
    { numRuns: 80 },
  );
}

describe.each(kinds)('a store in %s', (kind, open) => {
  test.for(seenStoreSuite)('$name', (each, ctx) => {
    needsServer(ctx, kind);
    return each.run(open()[0]!);
  });

  test('whatever is merged, in whatever order, ends with the join of all', async (ctx) => {
    needsServer(ctx, kind);
    await endsWithTheJoinOfAll(open());
  });
});
