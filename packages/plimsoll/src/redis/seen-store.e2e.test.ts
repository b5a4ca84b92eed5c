import { createClient } from 'redis';
import { afterAll, beforeAll, expect, test, type TestContext } from 'vitest';
import { Seen } from '../kernel/seen.ts';
import { noRedis, startRedis, type PrivateRedis } from './fixtures/redis-server.ts';
import { redisSeenStore } from './seen-store.ts';

let redis: PrivateRedis | undefined;
let client: ReturnType<typeof connectTo>;

function connectTo(url: string) {
  const made = createClient({ url });
  // Without a listener, a lost connection ends the process.
  made.on('error', () => undefined);
  return made;
}

beforeAll(async () => {
  if (noRedis !== undefined) return;
  redis = await startRedis();
  client = connectTo(redis.url);
  await client.connect();
});
afterAll(async () => {
  client?.destroy();
  await redis?.stop();
});

function needsRedis(ctx: TestContext): void {
  if (noRedis !== undefined) ctx.skip(noRedis);
}

test('every key expires, and has the prefix', async (ctx) => {
  needsRedis(ctx);
  const seen = new Seen();
  seen.noteWritten('db', '1.a', 1n);
  await redisSeenStore(client, { prefix: 'mine' }).merge('id', seen, 60_000);
  expect(await client.pTTL('mine:id')).toBeGreaterThan(50_000);
  // A server that has lost its scripts gets them again.
  await client.scriptFlush();
  expect((await redisSeenStore(client, { prefix: 'mine' }).read('id')).mark('db')?.written).toBe(1n);
});
