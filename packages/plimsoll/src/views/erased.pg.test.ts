import { createTestDatabase } from '@plimsoll/embedded';
import { expect, inject, test } from 'vitest';
import { z } from 'zod';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createContext } from '../kernel/context.ts';
import { contract, event } from '../modules/contract.ts';
import { eraseSubject } from '../modules/erase-subject.ts';
import { insertEvents } from '../outbox/events.ts';
import { newEvent } from '../outbox/new-event.ts';
import { moveCommitted } from '../outbox/relay.ts';
import { advance } from './advance.ts';
import { prepareViews, rebuildView } from './prepare.ts';
import { switchView } from './switch.ts';
import { view } from './view.ts';

const accounts = contract('accounts', {
  opened: event({
    payload: z.object({ id: z.string(), email: z.string(), country: z.string() }),
    version: 2,
    upcast: { 1: (old) => ({ ...(old as { id: string; email: string }), country: 'unknown' }) },
    personal: { subject: ({ id }) => id, erase: (payload) => ({ ...payload, email: 'erased' }) },
  }),
});

const emails = view('emails', {
  version: 1,
  key: { id: 'text' },
  columns: { email: 'text', country: 'text', known: 'boolean' },
  initial: { email: '', country: '', known: true },
  fold: (on) => [
    on(
      accounts.opened,
      ({ id }) => ({ id }),
      (_row, { email, country }, { erased }) => ({ email, country, known: !erased }),
    ),
  ],
});

test('what was erased is gone from a view that is built again, and the view goes on before and after that', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const database = createDatabase({ url: server.url });
  try {
    await migrate(database, migrationsOf({ modules: [] }));
    const databases = { database, log: database };
    const place = { schema: 'accounts', view: emails };
    await prepareViews(databases, [place]);
    const catchUp = async (table: string): Promise<void> => {
      const limits = { batch: 2, statementTimeoutMs: 10_000 };
      while ((await advance(databases, { place, table }, limits)).outcome === 'applied');
    };
    const open = async (...ids: string[]): Promise<void> => {
      const events = ids.map((id) => ({
        ...newEvent(createContext(), accounts.opened, { id, email: `${id}@example.org`, country: 'nl' }),
        // As the first version of the contract wrote it.
        ...(id === 'old' ? { version: 1, payload: { id, email: 'old@example.org' } } : {}),
      }));
      await database.execute(insertEvents(events));
      await moveCommitted(database, 100);
    };
    const rows = () => database.query(sql`select * from accounts.emails order by id`);

    await open('ada', 'old', 'eve');
    await catchUp('emails_v1');
    for (const subject of ['ada', 'old'])
      expect(
        await eraseSubject(database, [accounts.opened], { subject, by: 'test', why: 'asked for' }),
      ).toMatchObject({ events: 1, complete: true, left: [] });
    await open('zoe');
    await catchUp('emails_v1');
    const row = (id: string, country: string, email = `${id}@example.org`) => ({
      id,
      email,
      country,
      known: email !== 'erased',
    });
    // What a view has made of an event is not the event's.
    expect(await rows()).toEqual([
      row('ada', 'nl'),
      row('eve', 'nl'),
      row('old', 'unknown'),
      row('zoe', 'nl'),
    ]);

    const table = await rebuildView(databases, [place], 'accounts.emails');
    await catchUp(table);
    expect(await switchView(databases, place, 100)).toMatchObject({ outcome: 'switched' });
    expect(await rows()).toEqual([
      row('ada', 'nl', 'erased'),
      row('eve', 'nl'),
      row('old', 'unknown', 'erased'),
      row('zoe', 'nl'),
    ]);
  } finally {
    await database.close();
    await server.drop();
  }
});
