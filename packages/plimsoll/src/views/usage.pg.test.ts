import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { z } from 'zod';
// #region usage
import { contract, createContext, event } from 'plimsoll';
import { createDatabase, migrate, Seen, sql } from 'plimsoll/database';
import { jobMigrations } from 'plimsoll/jobs';
import { createRelay, insertEvents, newEvent, outboxMigrations } from 'plimsoll/outbox';
import { createViewBuilder, createViewReads, view, viewMigrations } from 'plimsoll/views';

const order = contract('order', {
  placed: event({ payload: z.object({ customer: z.string(), total: z.number() }) }),
});

const spent = view('spent', {
  version: 1,
  key: { customer: 'text' },
  columns: { total: 'bigint' },
  initial: { total: 0 },
  fold: (on) => [
    on(
      order.placed,
      ({ customer }) => ({ customer }),
      (row, { total }) => ({ total: row.total + total }),
    ),
  ],
});

async function usage(url: string) {
  const database = createDatabase({ url });
  await migrate(database, [jobMigrations, outboxMigrations, viewMigrations]);
  const views = [{ schema: 'reports', view: spent }];
  const builder = createViewBuilder({ database, views, onApplied: (applied) => reads.applied(applied) });
  const reads = createViewReads({ database, views, wakeBuilder: builder.wake });
  const relay = createRelay({ database, modules: [], subscriptions: [], onMoved: builder.wake });
  await builder.start();
  await relay.start();

  // What one client has seen: in a request it is in the context, and nothing has to be passed.
  const seen = new Seen();
  await database.transaction(
    (tx) =>
      tx.execute(insertEvents([newEvent(createContext(), order.placed, { customer: 'ada', total: 5 })])),
    { seen },
  );
  relay.wake();
  await reads.current(['reports.spent'], { seen });
  const row = await database.readOnly(
    (db) => db.one(sql`select total from reports.spent where customer = 'ada'`),
    { seen },
  );
  // #endregion
  await relay.stop();
  await builder.stop();
  await database.close();
  return row;
}

test('views work without modules and without an app', async () => {
  const server = await createTestDatabase(inject('cluster'));
  try {
    expect(await usage(server.url)).toEqual({ total: 5 });
  } finally {
    await server.drop();
  }
});
