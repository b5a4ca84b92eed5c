import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { cached, command, contract, createApp, module, plan, query, route, sql, type App } from 'plimsoll';
import { examine, renderFindings } from './index.ts';

let server: TestDatabase;
let app: App;

const anything = {
  '~standard': {
    version: 1 as const,
    vendor: 'test',
    types: undefined as { readonly input: object; readonly output: object } | undefined,
    validate: (value: unknown) => ({ value: value as object }),
  },
};

const notes = contract('notes', {
  inLoop: query({ input: anything, output: anything }),
  atOnce: query({ input: anything, output: anything }),
  first: query({ input: anything, output: anything, tags: () => ['note:1'] }),
  rename: command({ input: anything }),
});
const notesModule = module(notes, {
  owns: { schema: 'notes', migrations: new URL('./fixtures/notes/', import.meta.url) },
  queries: {
    async inLoop(_input, { db }) {
      const ids = await db.query<{ id: number }>(sql`select id from notes.note order by id limit 12`);
      const texts: object[] = [];
      for (const { id } of ids) texts.push(await db.one(sql`select text from notes.note where id = ${id}`));
      return texts;
    },
    atOnce: (_input, { db }) => db.query(sql`select text from notes.note order by id limit 12`),
    first: (_input, { db }) => db.one(sql`select text from notes.note where id = 1`),
  },
  commands: {
    async rename(_input, { tx }) {
      await tx.execute(sql`update notes.note set text = 'renamed' where id = 1`);
    },
  },
});

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(
    plan({
      name: 'notes',
      modules: [notesModule],
      cache: {
        queries: [cached(notes.first, { ttlMs: 60_000 })],
        processes: 'one',
        shared: false,
        bus: false,
        missed: 'report',
      },
      http: { port: 0, routes: [route('/loop', notes.inLoop), route('/once', notes.atOnce)] },
      expectedPeak: { requestsPerSecond: 10 },
      objectives: { default: { p95Ms: 100, errorRate: 0.001 } },
    }),
    { databaseUrl: server.url },
  );
  await app.start();
});
afterAll(async () => {
  await app?.stop();
  await server?.drop();
});

const use = { over: new AbortController() };
afterEach(() => use.over.abort());

/** Asks again and again, until the test ends. */
async function keepAsking(path: string): Promise<void> {
  use.over = new AbortController();
  const { signal } = use.over;
  while (!signal.aborted) {
    await (await fetch(`${app.url}${path}`)).arrayBuffer();
    await nextTurn();
  }
}

test('a statement in a loop is found in a running app', async () => {
  void keepAsking('/loop');
  // #region examine
  const report = await examine({ target: app.url, databaseUrl: server.url, windowMs: 1_000 });
  process.stdout.write(`${renderFindings(report)}\n`);
  // #endregion
  expect(report.findings).toMatchObject([
    {
      rule: 'n-plus-one',
      operations: ['notes.inLoop'],
      statement: 'select text from notes.note where id = $1',
      evidence: [
        expect.stringMatching(/ executions: 9 to 16 times in one$/),
        'once for each row of the statement before it: select id from notes.note order by id limit 12',
      ],
      gain: { after: expect.closeTo(2, 0) as number },
      cost: { operation: { name: 'notes.inLoop' } },
    },
  ]);
  // 13, less what is under way at the edges of the window.
  const [found] = report.findings;
  if (found?.rule !== 'n-plus-one') throw new Error(`the finding is ${found?.rule}`);
  expect(found.gain.before).toBeGreaterThan(12);
  // Twelve of thirteen statements, and whatever else it does.
  const { share, meanMs, p95 } = found.cost.operation!;
  expect(share).toBeGreaterThan(0);
  expect(share).toBeLessThanOrEqual(1);
  expect(meanMs).toBeGreaterThan(0);
  expect(p95.atMostMs ?? Infinity).toBeGreaterThan(p95.aboveMs);
  expect(report.blindSpots).toEqual([]);
  expect(report.examined.operations).toBe(1);
});

test('what ran before the window is not told', async () => {
  void keepAsking('/once');
  const report = await examine({ target: app.url, databaseUrl: server.url, windowMs: 500 });
  expect(report.findings).toEqual([]);
  expect(report.examined).toMatchObject({ operations: 1 });
});

test('an app that nobody uses is not called healthy', async () => {
  await expect(examine({ target: app.url, databaseUrl: server.url, windowMs: 100 })).rejects.toMatchObject({
    code: 'PL_DOCTOR_IDLE',
    message: expect.stringMatching(/no operation ran at .* within 0\.1 s/) as string,
  });
});

test('what is not there is named, with what to do', async () => {
  const away = examine({ target: 'http://127.0.0.1:1', databaseUrl: server.url, windowMs: 100 });
  await expect(away).rejects.toMatchObject({
    code: 'PL_DOCTOR_UNREACHABLE',
    message: expect.stringMatching(/127\.0\.0\.1:1.*plimsoll start/) as string,
  });
  const noDatabase = examine({
    target: app.url,
    databaseUrl: 'postgres://nobody:secret@127.0.0.1:1/none',
    windowMs: 100,
  });
  const failure: unknown = await noDatabase.catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 'PL_DOCTOR_UNREACHABLE' });
  expect(String(failure)).not.toContain('secret');
  const notPlimsoll = examine({ target: `${app.url}/once?`, databaseUrl: server.url, windowMs: 100 });
  await expect(notPlimsoll).rejects.toThrow(/has to be a Plimsoll app/);
});

test('without pg_stat_statements it examines the rest and says how to switch it on', async () => {
  await app.database.execute(sql`drop extension pg_stat_statements`);
  void keepAsking('/loop');
  const report = await examine({ target: app.url, databaseUrl: server.url, windowMs: 500 });
  expect(report.findings.map(({ rule }) => rule)).toEqual(['n-plus-one']);
  expect(report.examined).toMatchObject({ statements: null, databaseMs: null });
  expect(report.blindSpots).toEqual([expect.stringContaining('create extension pg_stat_statements')]);
});

test('a stop ends the watching at once', async () => {
  const stop = new AbortController();
  const watching = examine({
    target: app.url,
    databaseUrl: server.url,
    windowMs: 600_000,
    signal: stop.signal,
  });
  setTimeout(() => stop.abort(), 50);
  await expect(watching).rejects.toMatchObject({ name: 'AbortError' });
  const stopped = examine({ target: app.url, databaseUrl: server.url, signal: AbortSignal.abort() });
  await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
});

test('a command that changes a cached answer and invalidates nothing is found, before what only costs time', async () => {
  await app.call(notes.first, {});
  await app.call(notes.rename, {});
  void keepAsking('/loop');
  const report = await examine({ target: app.url, databaseUrl: server.url, windowMs: 500 });
  expect(report.findings).toMatchObject([
    {
      rule: 'missed-invalidation',
      operations: ['notes.first', 'notes.rename'],
      table: 'notes.note',
      fix: { code: 'invalidate(`note:${…}`)' },
    },
    { rule: 'n-plus-one' },
  ]);
  const text = renderFindings(report, { width: 100 });
  expect(text).toContain(
    '1. notes.first is cached, and notes.rename changes what it answers without telling the cache',
  );
  expect(text).toContain('Evidence   notes.rename has written notes.note, which notes.first reads');
});
