import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createContext } from 'plimsoll';
import { createDatabase, migrate, type Database } from 'plimsoll/database';
import { jobMigrations } from 'plimsoll/jobs';
// #region operate
import { eventLag, listEvents, replayOnce, replayState, startReplay, trace } from 'plimsoll/outbox';

/** Brings the events of one order to one subscription again, and tells how far that is. */
async function repair(database: Database, orderId: string): Promise<string> {
  const { id } = await startReplay(database, {
    subscription: 'mail.greet',
    filter: { key: orderId },
    by: 'ada',
    why: 'the mail server had lost it',
  });
  // A relay would do it, too.
  while ((await replayOnce(database, id)) === 'more');
  const { delivered } = await replayState(database, id);
  const [newest] = await listEvents(database, { key: orderId }, 1);
  const [request] = await trace(database, { key: orderId });
  const { subscriptions } = await eventLag(database);
  return `${delivered} of ${newest?.type}, set off by ${request?.name}; ${subscriptions[0]?.backlog} wait`;
}
// #endregion
import { outboxMigrations } from './migrations.ts';
import { insertEvents } from './events.ts';
import { moveCommitted } from './relay.ts';
import { recordSubscriptions } from './subscriptions.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [jobMigrations, outboxMigrations]);
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

test('an operator brings the events of an order again, and sees what that means', async () => {
  const subscription = { name: 'mail.greet', module: 'mail', eventType: 'order.placed', maxAttempts: 3 };
  await recordSubscriptions(database, [subscription], ['mail']);
  const { caller } = createContext();
  await database.execute(
    insertEvents([
      { type: 'order.placed', version: 1, key: '42', correlationId: 'request-1', caller, payload: {} },
    ]),
  );
  await moveCommitted(database, 10);
  expect(await repair(database, '42')).toBe('1 of order.placed, set off by request-1; 2 wait');
});
