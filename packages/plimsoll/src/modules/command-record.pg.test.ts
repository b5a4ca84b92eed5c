import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { App } from '../app/app.ts';
import { sql } from '../database/sql.ts';
import { fingerprintOf } from '../idempotency/fingerprint.ts';
import { queries } from '../kernel/channels.ts';
import { createContext, currentContext, runInContext, type ContextGiven } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { untilIdle } from '../testing/until-idle.ts';
import { desk, ledger, ledgerApp, ledgerTables, now } from '../../test/ledger/app.ts';

let server: TestDatabase;
let app: App;
let second: App;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = ledgerApp(server.url, {}, { listen: false });
  second = ledgerApp(server.url, { idempotency: { maxAnswerBytes: 1_000 } }, { listen: false });
  await app.start();
  await app.database.execute(ledgerTables);
  await second.start();
});
afterAll(async () => {
  await app.stop();
  await second.stop();
  await server.drop();
});
beforeEach(async () => {
  Object.assign(now, {
    held: Promise.resolve(),
    fate: undefined,
    padding: '',
    runs: 0,
    effects: 0,
    tries: 0,
  });
  await app.database.execute(sql`truncate ledger.note, desk.form, plimsoll.idempotency`);
});

const under = <T>(key: string, work: () => Promise<T>, given: ContextGiven = {}): Promise<T> =>
  runInContext(createContext({ ...given, key }), work);
const add = (text: string, of: App = app): ReturnType<typeof app.call<typeof ledger.add>> =>
  of.call(ledger.add, { text });
const notes = async (): Promise<string[]> =>
  (await app.database.query<{ text: string }>(sql`select text from ledger.note order by id`)).map(
    ({ text }) => text,
  );
const rows = async (): Promise<number> =>
  (await app.database.one<{ n: number }>(sql`select count(*)::int as n from plimsoll.idempotency`)).n;

/** As a client does that is told to come again. */
async function untilAnswered(key: string, of: App): Promise<unknown> {
  for (;;) {
    try {
      return await under(key, () => add(key, of));
    } catch (error) {
      if (!isPlimsollError(error) || !error.retryable) throw error;
    }
  }
}

describe('a command under the same key', () => {
  test('has its effect once and answers the same, transformed as the first one, in every process', async () => {
    const first = await under('k', () => add('a'));
    expect(first).toMatchObject({ ok: true, value: { at: expect.any(Date) as Date } });
    let replayed: boolean | undefined;
    const again = await under('k', async () => {
      const result = await add('a', second);
      replayed = currentContext()?.replayed;
      return result;
    });
    expect(again).toEqual(first);
    expect([await notes(), now.runs, replayed]).toEqual([['a'], 2, true]);
  });

  test('that has failed as declared fails the same, whatever has changed since', async () => {
    now.fate = 'declared';
    const first = await under('k', () => add('a'));
    now.fate = 'good';
    expect(first).toMatchObject({ ok: false, error: 'Refused', data: { at: expect.any(Date) as Date } });
    expect(await under('k', () => add('a'))).toEqual(first);
    expect(await notes()).toEqual([]);
  });

  test('that has succeeded answers that, though its handler would fail now, or throw before its first statement', async () => {
    const first = await under('k', () => app.call(desk.relay, { text: 'a' }));
    now.fate = 'declared';
    // The record of the call in it has gone, so that it fails anew.
    await app.database.execute(sql`delete from plimsoll.idempotency where key <> 'k'`);
    expect(await under('k', () => app.call(desk.relay, { text: 'a' }))).toEqual(first);
  });

  test.each(['thrown', 'crash'] as const)(
    'that ended as %s has recorded nothing and runs anew',
    async (fate) => {
      now.fate = fate;
      await expect(under('k', () => add('a'))).rejects.toThrow();
      expect(await rows()).toBe(0);
      now.fate = 'good';
      expect(await under('k', () => add('a'))).toMatchObject({ ok: true });
      expect(await notes()).toEqual(['a']);
    },
  );

  test('with another input is refused, with both hashes', async () => {
    await under('k', () => add('a'));
    const refused = await under('k', () => add('b')).catch((error: unknown) => error);
    expect(refused).toMatchObject({
      code: 'PL_IDEMPOTENCY_REUSED',
      data: {
        scope: 'ledger.add',
        key: 'k',
        recorded: expect.stringMatching(/^[\w-]{43}$/) as string,
        sent: expect.stringMatching(/^[\w-]{43}$/) as string,
      },
    });
    expect(await notes()).toEqual(['a']);
  });

  test('of another client or another operation is other work', async () => {
    await under('k', () => add('a'), { caller: { principal: 'ada' } });
    await under('k', () => add('b'), { caller: { principal: 'bob' } });
    await under('k', () => add('c'), { caller: { principal: 'ada', tenant: 'acme' } });
    await under('k', () => app.call(desk.relay, { text: 'd' }), { caller: { principal: 'ada' } });
    expect(await notes()).toEqual(['a', 'b', 'c', 'd']);
  });

  test('is refused at once while it is under way, and holds no connection', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    now.held = promise;
    now.fate = 'hold';
    const first = under('k', () => add('a'));
    await expect.poll(() => now.effects).toBe(1);
    const others = Array.from({ length: 20 }, (_, n) =>
      under('k', () => add('a', n % 2 === 0 ? app : second)),
    );
    for (const other of await Promise.allSettled(others))
      expect(other).toMatchObject({
        status: 'rejected',
        reason: { code: 'PL_IDEMPOTENCY_BUSY', retryable: true },
      });
    // The worker asks now and then.
    await expect.poll(() => app.database.pools()['primary']).toMatchObject({ inUse: 1, waiting: 0 });
    resolve();
    expect(await under('k', () => first)).toEqual(await under('k', () => add('a')));
    expect(await notes()).toEqual(['a']);
  });

  test('whose answer somebody else records meanwhile is rolled back, and answers that', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    now.held = promise;
    now.fate = 'hold';
    const answer = under('k', () => add('a'));
    await expect.poll(() => now.effects).toBe(1);
    const recorded = { value: { id: 99, at: '2026-01-01T00:00:00Z', padding: '' } };
    await app.database.execute(sql`
      insert into plimsoll.idempotency (scope, client, key, fingerprint, answer, expires_at)
      values ('ledger.add', '', 'k', ${fingerprintOf({ text: 'a' })}, ${sql.json(recorded)}::json, now() + interval '1 hour')`);
    resolve();
    expect(await answer).toMatchObject({ ok: true, value: { id: 99, at: new Date('2026-01-01') } });
    expect(await notes()).toEqual([]);
  });

  test('is done anew once it has expired', async () => {
    await under('k', () => add('a'));
    await app.database.execute(sql`update plimsoll.idempotency set expires_at = now()`);
    await under('k', () => add('b'));
    await under('k', () => add('b'));
    expect(await notes()).toEqual(['a', 'b']);
  });

  test('whose answer was too large has its effect once, and says that its answer is not kept', async () => {
    now.padding = 'x'.repeat(1_000);
    expect(await under('k', () => add('a', second))).toMatchObject({ ok: true });
    await expect(under('k', () => add('a', second))).rejects.toMatchObject({
      code: 'PL_IDEMPOTENCY_NOT_KEPT',
    });
    expect(await notes()).toEqual(['a']);
  });

  test('keeps answers that PostgreSQL cannot read as text', async () => {
    now.padding = '\0 " \ud800 \u2028';
    const first = await under('k', () => add('a'));
    expect(await under('k', () => add('a'))).toEqual(first);
  });
});

test('without a key of somebody else nothing is recorded', async () => {
  await add('a');
  await runInContext(createContext(), () => add('a'));
  expect([await notes(), await rows()]).toEqual([['a', 'a'], 0]);
});

test('calls of one piece of work are told apart by their order, and each is answered as before', async () => {
  const both = (): Promise<unknown> =>
    under('k', async () => [await add('a'), await add('a'), await add('b')]);
  const first = await both();
  expect(await both()).toEqual(first);
  expect(await notes()).toEqual(['a', 'a', 'b']);
});

test('a job that is tried again calls with the same keys: what it called has its effect once', async () => {
  await app.database.execute(sql`truncate plimsoll.task`);
  await under('enqueue', async () => {
    const { newJob } = await import('../jobs/job.ts');
    const { insertTasks } = await import('../durable/task.ts');
    const job = newJob(createContext(), {
      id: crypto.randomUUID(),
      name: desk.order.id,
      input: { text: 'o', failures: 3 },
    });
    await app.database.execute(insertTasks([job]));
  });
  await untilIdle(app);
  expect([now.tries, await notes()]).toEqual([4, ['o first', 'o second']]);
  expect(await app.database.query(sql`select text from desk.form`)).toEqual([{ text: 'o' }]);
  // The job itself ends in its transaction and needs none.
  expect(await rows()).toBe(2);
});

test('a declared failure is not recorded for work that is tried again: it is tried to see whether it goes now', async () => {
  now.fate = 'declared';
  const caused = { causationId: 'saga:7' };
  expect(await under('step', () => add('a'), caused)).toMatchObject({ ok: false, error: 'Refused' });
  await expect(under('k', () => app.call(desk.relay, { text: 'b' }))).rejects.toThrow('Refused');
  expect(await rows()).toBe(0);
  now.fate = undefined;
  const done = await under('step', () => add('a'), caused);
  expect(done).toMatchObject({ ok: true });
  await under('k', () => app.call(desk.relay, { text: 'b' }));
  // What has succeeded stays so.
  now.fate = 'declared';
  expect(await under('step', () => add('a'), caused)).toEqual(done);
  expect(await notes()).toEqual(['a', 'b']);
});

test('a hundred keys, twenty times each, at once and in two processes: one effect and one answer each', async () => {
  const keys = Array.from({ length: 100 }, (_, n) => `storm ${n}`);
  const answers = await Promise.all(
    keys.map((key) =>
      Promise.all(Array.from({ length: 20 }, (_, n) => untilAnswered(key, n % 2 === 0 ? app : second))),
    ),
  );
  for (const each of answers) expect(new Set(each.map((answer) => JSON.stringify(answer))).size).toBe(1);
  expect((await notes()).toSorted()).toEqual(keys.toSorted());
});

describe.each(['before COMMIT', 'after COMMIT'])('a process killed %s', (where) => {
  test('leaves one effect and one answer to whoever sends the same again', async () => {
    const key = `killed ${where}`;
    const program = fileURLToPath(new URL('../../test/ledger/process.ts', import.meta.url));
    const child = fork(program, [server.url, key, where], { execArgv: ['--conditions=plimsoll:source'] });
    await once(child, 'message');
    const before = await notes();
    child.kill('SIGKILL');
    await once(child, 'exit');
    const answer = await untilAnswered(key, app);
    expect([before, await notes()]).toEqual([where === 'after COMMIT' ? [key] : [], [key]]);
    expect(await untilAnswered(key, second)).toEqual(answer);
    expect(await notes()).toEqual([key]);
  });
});

test('costs one statement more, which is none where something is written before COMMIT anyway', async () => {
  const texts: string[] = [];
  const stop = queries.subscribe(({ scope, text, operation }) => {
    if (scope === app.database.scope && operation === ledger.add.id)
      texts.push(text.trim().split(/\s+/, 2).join(' '));
  });
  try {
    await add('a');
    const without = texts.splice(0);
    await under('k', () => add('a'));
    const withKey = texts.splice(0);
    await under('k', () => add('a'));
    expect([without, withKey, texts]).toEqual([
      ['begin', 'insert into'],
      // The question travels with BEGIN.
      [
        'select pg_try_advisory_xact_lock(hashtextextended(concat_ws(chr(10),',
        'insert into',
        'with answered',
      ],
      ['select pg_try_advisory_xact_lock(hashtextextended(concat_ws(chr(10),'],
    ]);
  } finally {
    stop();
  }
});

test('what has expired is deleted by those that record', async () => {
  const { Records } = await import('../idempotency/records.ts');
  const { systemClock } = await import('../kernel/clock.ts');
  let nowMs = 0;
  const records = new Records(app.database, {}, { ...systemClock, monotonicMs: () => nowMs });
  await app.database.execute(sql`
    insert into plimsoll.idempotency (scope, client, key, fingerprint, answer, expires_at)
    select 's', '', n::text, 'f', 'null', now() + (n - 2500) * interval '1 hour' from generate_series(1, 2501) n`);
  nowMs += 59_000;
  const work = { scope: 's', client: '', key: 'new', fingerprint: 'f' };
  records.recording(work, {});
  expect(await rows()).toBe(2_501);
  nowMs += 1_000;
  records.recording(work, {});
  await expect.poll(rows, { timeout: 10_000 }).toBe(1);
});
