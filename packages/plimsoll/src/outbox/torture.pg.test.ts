import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { prepareTorture, torture } from './fixtures/torture.ts';

test('relays killed, backends terminated, commits out of order: every event once, in order by key', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url, pool: { max: 12 } });
  try {
    await migrate(database, migrationsOf({ modules: [] }));
    await prepareTorture(database);
    const outcome = await torture({
      database,
      url: server.url,
      durationMs: 4_000,
      writers: 6,
      keys: 8,
      faultEveryMs: 250,
      random: Math.random,
    });
    expect(outcome).toMatchObject({
      lost: 0,
      invented: 0,
      doubled: 0,
      gaps: 0,
      inverted: 0,
      undelivered: 0,
      repeated: 0,
      unordered: 0,
    });
    expect(outcome.committed).toBeGreaterThan(50);
    expect(outcome.kills).toBeGreaterThan(0);
  } finally {
    await database.close();
    await server.drop();
  }
});
