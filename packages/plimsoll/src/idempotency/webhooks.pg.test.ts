import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { isPlimsollError, PlimsollError } from '../kernel/errors.ts';
import { idempotencyMigrations } from './migrations.ts';
import { createWebhooks } from './webhooks.ts';

let server: TestDatabase;
let database: Database;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [idempotencyMigrations]);
  await database.execute(sql`create table seen (id text not null)`);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

const of = (provider: string) =>
  createWebhooks({
    database,
    provider,
    verify: ({ body }) => {
      if (body === 'forged') throw new PlimsollError('PL_WEBHOOK_REFUSED', 'forged');
      return String(body);
    },
  });
const receive = (id: string, to = of('one')) =>
  to.receive(
    { headers: {}, body: id },
    async (tx) => void (await tx.execute(sql`insert into seen values (${id})`)),
  );
const seen = async (): Promise<string[]> =>
  (await database.query<{ id: string }>(sql`select id from seen order by id`)).map(({ id }) => id);

test('each message once, sent at once and in two, however often; another provider has ids of its own', async () => {
  const untilAnswered = async (id: string): Promise<string> => {
    for (;;) {
      try {
        return await receive(id);
      } catch (error) {
        if (!isPlimsollError(error, 'PL_IDEMPOTENCY_BUSY')) throw error;
      }
    }
  };
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => untilAnswered(`m${n % 3}`)));
  expect(answers.filter((answer) => answer === 'handled')).toHaveLength(3);
  expect(await receive('m0', of('other'))).toBe('handled');
  expect(await seen()).toEqual(['m0', 'm0', 'm1', 'm2']);
});

test('a handler that throws leaves nothing, and the message is handled when it comes again', async () => {
  const failing = of('one').receive({ headers: {}, body: 'again' }, async (tx) => {
    await tx.execute(sql`insert into seen values ('half')`);
    throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(await receive('again')).toBe('handled');
  expect(await seen()).not.toContain('half');
});

test('a message that is not the provider’s runs nothing', async () => {
  await expect(receive('forged')).rejects.toMatchObject({ code: 'PL_WEBHOOK_REFUSED', status: 401 });
  expect(await seen()).not.toContain('forged');
});

test('options that cannot be are refused', () => {
  expect(() => createWebhooks({ database, provider: '', verify: () => '', keepMs: 0 })).toThrow(
    /keepMs: is 0(.|\n)*provider: is empty/,
  );
});
