import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { migrationsOf } from '../app/migrations.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { claimDue } from '../durable/claim.ts';
import { insertTasks, type ClaimedTask } from '../durable/task.ts';
import { createContext, currentContext } from '../kernel/context.ts';
import { insertInbox } from '../outbox/events.ts';
import { deliveryHandler } from '../outbox/delivery-handler.ts';
import { newJob } from './job.ts';
import { jobHandler } from './job-handler.ts';

let server: TestDatabase;
let database: Database;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, migrationsOf({ modules: [] }));
  await database.execute(sql`create table effect (text text not null)`);
});
afterAll(async () => {
  await database?.close();
  await server?.drop();
});
beforeEach(() => database.execute(sql`truncate plimsoll.task, plimsoll.inbox, effect`));

/** A task of that payload, claimed by worker 7. */
async function claimed(payload: unknown): Promise<ClaimedTask> {
  const context = createContext({ correlationId: 'request-7', caller: { principal: 'ada' } });
  await database.execute(insertTasks([newJob(context, { id: randomUUID(), name: 'work', input: payload })]));
  return database.one<ClaimedTask>(claimDue(7, ['work'], 1));
}
const takenOver = (): Promise<number> =>
  database.execute(sql`update plimsoll.task set attempt = attempt + 1`);
const left = async (): Promise<unknown> => ({
  effects: (await database.query<{ text: string }>(sql`select text from effect`)).map(({ text }) => text),
  tasks: (await database.query(sql`select 1 from plimsoll.task`)).length,
  inbox: (await database.query(sql`select 1 from plimsoll.inbox`)).length,
});
const event = { id: '5', position: 1, type: 'a.b', version: 1, key: null, payload: { text: 'told' } };

test('a job: effect and end commit together, in the context of who asked', async () => {
  const task = await claimed({ text: 'done' });
  let seen: unknown;
  const handler = jobHandler<{ text: string }>(database, async ({ text }, { tx, task: { id } }) => {
    const { correlationId, caller, key, causationId } = currentContext()!;
    seen = { correlationId, caller, causationId, sameKey: key === id };
    expect(tx.begun).toBe(false);
    await tx.execute(sql`insert into effect values (${text})`);
  });
  await handler(task);
  expect(await left()).toEqual({ effects: ['done'], tasks: 0, inbox: 0 });
  expect(seen).toEqual({
    correlationId: 'request-7',
    caller: { principal: 'ada' },
    causationId: `job:${task.id}`,
    sameKey: true,
  });
});

test('a job without an effect in the database ends too', async () => {
  await jobHandler(database, async () => undefined)(await claimed({}));
  expect(await left()).toEqual({ effects: [], tasks: 0, inbox: 0 });
});

test('a job that throws leaves no effect, and its task to be tried again', async () => {
  const handler = jobHandler(database, async (_input, { tx }) => {
    await tx.execute(sql`insert into effect values ('half')`);
    throw new Error('no');
  });
  await expect(handler(await claimed({}))).rejects.toThrow('no');
  expect(await left()).toEqual({ effects: [], tasks: 1, inbox: 0 });
});

test('a job or delivery that another worker has taken over is PL_TASK_LOST, and leaves no effect', async () => {
  const job = jobHandler(database, async (_input, { tx }) => {
    await tx.execute(sql`insert into effect values ('late')`);
    await takenOver();
  });
  await expect(job(await claimed({}))).rejects.toMatchObject({ code: 'PL_TASK_LOST' });
  await database.execute(sql`truncate plimsoll.task`);
  const delivery = deliveryHandler(database, async (_payload, { tx }) => {
    await tx.execute(sql`insert into effect values ('late')`);
    await takenOver();
  });
  await expect(delivery(await claimed(event))).rejects.toMatchObject({ code: 'PL_TASK_LOST' });
  expect(await left()).toEqual({ effects: [], tasks: 1, inbox: 0 });
});

test('a delivery: effect, inbox row and end commit together; the second of the same event only ends', async () => {
  const handler = deliveryHandler<{ text: string }>(
    database,
    async ({ text }, { tx, event: { position } }) => {
      const causationId = `event:${position + 4}/work`;
      expect(currentContext()).toMatchObject({ correlationId: 'request-7', causationId });
      await tx.execute(sql`insert into effect values (${`${text} at ${position}`})`);
    },
  );
  await handler(await claimed(event));
  expect(await left()).toEqual({ effects: ['told at 1'], tasks: 0, inbox: 1 });
  await handler(await claimed(event));
  expect(await left()).toEqual({ effects: ['told at 1'], tasks: 0, inbox: 1 });
  // A row of another subscription is none of this one.
  await database.execute(insertInbox('other', { position: 2 }));
  await handler(
    await claimed({ ...event, id: '6', position: 2 }).then((task) => ({ ...task, causationId: 'event:5' })),
  );
  expect(await left()).toMatchObject({ effects: ['told at 1', 'told at 2'], tasks: 0 });
});
