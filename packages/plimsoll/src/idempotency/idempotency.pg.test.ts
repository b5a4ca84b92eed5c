import { once as happens } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import express from 'express';
import fastify from 'fastify';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { fromPool } from '../pg/from-pool.ts';
import type { Answer } from './answer.ts';
import { idempotencyMiddleware, idempotentExpress } from './express.ts';
import { idempotencyPlugin, idempotentFastify } from './fastify.ts';
import {
  createIdempotency,
  type Claim,
  type Idempotency,
  type IdempotencyOptions,
  type IdempotentRequest,
} from './idempotency.ts';
import { idempotencyMigrations } from './migrations.ts';

let server: TestDatabase;
let pool: pg.Pool;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  pool = new pg.Pool({ connectionString: server.url, max: 6 });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  await migrate(fromPool(pool), [idempotencyMigrations]);
  await pool.query('create table note (text text not null)');
});
afterAll(async () => {
  await pool.end();
  await server.drop();
});
beforeEach(async () => {
  await pool.query('truncate note, plimsoll.idempotency');
});

const make = (options: Partial<IdempotencyOptions> = {}): Idempotency =>
  createIdempotency({ database: fromPool(pool), ...options });
const request = (more: Partial<IdempotentRequest> = {}): IdempotentRequest => ({
  method: 'POST',
  route: '/notes',
  field: 'k',
  client: '',
  input: { text: 'a' },
  ...more,
});
const write =
  (text: string, answer: Answer = { status: 201, body: { text } }) =>
  async (tx: Transaction): Promise<Answer> => {
    await tx.execute(sql`insert into note values (${text})`);
    return answer;
  };
const notes = async (): Promise<string[]> =>
  (await pool.query<{ text: string }>('select text from note order by text')).rows.map(({ text }) => text);

describe('one transaction', () => {
  test('effect and answer are there once, byte for byte', async () => {
    const idempotency = make();
    const bytes = Uint8Array.from([0, 255, 128, 7]);
    for (const [key, answer] of [
      ['json', { status: 201, headers: { Location: '/7' }, body: { z: 1, a: [null, '\0'] } }],
      ['text', { headers: { 'content-type': 'text/plain' }, body: 'text' }],
      ['bytes', { body: bytes }],
      ['nothing', {}],
    ] as const) {
      const first = await idempotency.once(request({ field: key }), write(key, answer));
      const again = await idempotency.once(request({ field: key }), write('never'));
      expect({ ...again, body: again.body && Buffer.from(again.body) }).toEqual({
        ...first,
        body: first.body && Buffer.from(first.body),
        replayed: true,
      });
    }
    expect(await notes()).toEqual(['bytes', 'json', 'nothing', 'text']);
  });

  test.each([400, 401, 403, 408, 429, 500, 503])(
    'an answer of %i rolls back and is not kept',
    async (status) => {
      const idempotency = make();
      expect(await idempotency.once(request(), write('a', { status }))).toMatchObject({
        status,
        replayed: false,
      });
      expect(await notes()).toEqual([]);
      expect(await idempotency.once(request(), write('a'))).toMatchObject({ status: 201, replayed: false });
    },
  );

  test('an answer of 409 is kept', async () => {
    const idempotency = make();
    await idempotency.once(request(), write('a', { status: 409 }));
    expect(await idempotency.once(request(), write('a'))).toMatchObject({ status: 409, replayed: true });
  });

  test('another body is 422, another client or route is other work', async () => {
    const idempotency = make();
    await idempotency.once(request(), write('a'));
    await expect(idempotency.once(request({ input: { text: 'b' } }), write('b'))).rejects.toMatchObject({
      code: 'PL_IDEMPOTENCY_REUSED',
      status: 422,
    });
    await idempotency.once(request({ client: 'ada' }), write('c'));
    await idempotency.once(request({ route: '/others' }), write('d'));
    // The order of members says nothing.
    const ordered = { field: 'o', input: { a: 1, b: { c: 2, d: 3 } } };
    await idempotency.once(request(ordered), write('e'));
    const same = await idempotency.once(
      request({ ...ordered, input: { b: { d: 3, c: 2 }, a: 1 } }),
      write('never'),
    );
    expect([same.replayed, await notes()]).toEqual([true, ['a', 'c', 'd', 'e']]);
  });

  test('at the same time: one effect, and who comes meanwhile is told at once', async () => {
    const idempotency = make();
    const { promise, resolve } = Promise.withResolvers<void>();
    let begun = 0;
    const first = idempotency.once(request(), async (tx) => {
      const answer = await write('a')(tx);
      begun += 1;
      await promise;
      return answer;
    });
    await expect.poll(() => begun).toBe(1);
    const others = await Promise.allSettled(
      Array.from({ length: 20 }, () => idempotency.once(request(), write('never'))),
    );
    for (const other of others)
      expect(other).toMatchObject({ reason: { code: 'PL_IDEMPOTENCY_BUSY', status: 409 } });
    resolve();
    expect(await first).toMatchObject({ replayed: false });
    expect([await idempotency.once(request(), write('never')), await notes()]).toMatchObject([
      { replayed: true },
      ['a'],
    ]);
  });

  test('a connection that ends before COMMIT leaves nothing, and the same runs anew', async () => {
    const idempotency = make();
    await expect(
      idempotency.once(request(), async (tx) => {
        await write('a')(tx);
        await tx.execute(sql`select pg_terminate_backend(pg_backend_pid())`);
        return {};
      }),
    ).rejects.toMatchObject({ code: 'PL_DATABASE_UNAVAILABLE' });
    expect(await notes()).toEqual([]);
    expect(await idempotency.once(request(), write('a'))).toMatchObject({ replayed: false });
  });

  test.each(['committed', 'rolled back'])(
    'a COMMIT that was not answered is looked up: it has %s',
    async (fate) => {
      const database = fromPool(pool);
      const unanswered: Database = {
        ...database,
        async transaction(fn, options) {
          await database
            .transaction(async (tx) => {
              const result = await fn(tx);
              if (fate === 'rolled back') throw new Error('the server has rolled back');
              return result;
            }, options)
            .catch(() => undefined);
          throw new PlimsollError('PL_COMMIT_UNKNOWN', 'the connection broke during COMMIT');
        },
      };
      const answer = createIdempotency({ database: unanswered }).once(request(), write('a'));
      if (fate === 'committed') expect(await answer).toMatchObject({ status: 201, body: '{"text":"a"}' });
      else await expect(answer).rejects.toMatchObject({ code: 'PL_COMMIT_UNKNOWN' });
      expect(await make().once(request(), write('a'))).toMatchObject({ replayed: fate === 'committed' });
      expect(await notes()).toEqual(['a']);
    },
  );

  test('without a key it runs each time, unless one is required; an unreadable one is refused', async () => {
    const idempotency = make();
    for (let n = 0; n < 2; n += 1) await idempotency.once(request({ field: undefined }), write('a'));
    expect(await notes()).toEqual(['a', 'a']);
    const required = make({ required: true });
    for (const [each, field] of [
      [required, undefined],
      [idempotency, ''],
      [idempotency, '"open'],
      [idempotency, 'x'.repeat(256)],
      [idempotency, ['a', 'b']],
      [idempotency, 'ü'],
    ] as const)
      await expect(each.once(request({ field }), write('never'))).rejects.toMatchObject({
        code: 'PL_IDEMPOTENCY_KEY',
        status: 400,
      });
  });

  test("Stripe's way: 400 for another body, and answers of 5xx are kept", async () => {
    const idempotency = make({ semantics: 'stripe' });
    await idempotency.once(request(), write('a', { status: 500 }));
    expect(await idempotency.once(request(), write('never'))).toMatchObject({ status: 500, replayed: true });
    await expect(idempotency.once(request({ input: 'b' }), write('b'))).rejects.toMatchObject({
      status: 400,
    });
    expect(idempotency.replayedHeader).toBe('idempotent-replayed');
  });

  test('an answer too large to keep says so, and its effect stays one', async () => {
    const idempotency = make({ maxAnswerBytes: 100 });
    await idempotency.once(request(), write('a', { body: 'x'.repeat(100) }));
    await expect(idempotency.once(request(), write('never'))).rejects.toMatchObject({
      code: 'PL_IDEMPOTENCY_NOT_KEPT',
      status: 410,
    });
    expect(await notes()).toEqual(['a']);
  });
});

describe('with calls outside', () => {
  test('whoever comes meanwhile is told how long to wait; a crash is over with its lease, and the key is the same', async () => {
    const idempotency = make({ leaseMs: 60_000 });
    const crashed = (await idempotency.claim(request())) as Claim;
    const busy = await idempotency.claim(request()).catch((error: unknown) => error);
    expect(busy).toMatchObject({ code: 'PL_IDEMPOTENCY_BUSY' });
    expect((busy as { data: { retryAfterMs: number } }).data.retryAfterMs).toBeGreaterThan(50_000);
    // Nobody comes back: its time passes.
    await pool.query('update plimsoll.idempotency set busy_until = now()');
    await expect(idempotency.claim(request({ input: 'other' }))).rejects.toMatchObject({
      code: 'PL_IDEMPOTENCY_REUSED',
    });
    const after = (await idempotency.claim(request())) as Claim;
    expect(after.key).toBe(crashed.key);
    // The first was not dead: its effect is rolled back.
    await expect(crashed.transaction(write('late'))).rejects.toMatchObject({ code: 'PL_IDEMPOTENCY_BUSY' });
    await crashed.free();
    await after.transaction(write('a'));
    expect([await idempotency.claim(request()), await notes()]).toMatchObject([
      { status: 201, replayed: true },
      ['a'],
    ]);
  });

  test('what fails outside frees the key at once, and so does an answer that is not kept', async () => {
    const idempotency = make();
    const run = (outside: () => Promise<number>, status = 201) =>
      idempotency.onceOutside(request(), {
        outside,
        effect: (tx, result) => write(`${result}`, { status, body: result })(tx),
      });
    await expect(run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await run(() => Promise.resolve(1), 503)).toMatchObject({ status: 503 });
    expect(await notes()).toEqual([]);
    expect(await run(() => Promise.resolve(2))).toMatchObject({ body: '2', replayed: false });
    expect(await run(() => Promise.reject(new Error('never')))).toMatchObject({ body: '2', replayed: true });
  });
});

/** One site in each framework, with the same routes. */
interface Site {
  readonly url: string;
  close(): Promise<void>;
}
/** What the handler that answers by itself does. */
let own: (claim: Claim | undefined) => Promise<{ readonly status: number; readonly body: string }>;
const sites: readonly [string, (idempotency: Idempotency) => Promise<Site>][] = [
  [
    'Express',
    async (idempotency) => {
      const app = express();
      app.use(express.json());
      app.post(
        '/notes/:id',
        idempotentExpress(idempotency, ({ body }, tx) => write((body as { text: string }).text)(tx)),
      );
      app.use('/own', idempotencyMiddleware(idempotency));
      app.post('/own/:id', async (incoming, response) => {
        const { status, body } = await own((incoming as { idempotency?: Claim }).idempotency);
        response.status(status).set('x-own', 'yes').set('set-cookie', 'a=b');
        response.write(body.slice(0, 1));
        response.end(body.slice(1));
      });
      app.use(
        (
          error: { status?: number; code?: string },
          _request: unknown,
          response: express.Response,
          _next: unknown,
        ) => void response.status(error.status ?? 500).json({ code: error.code }),
      );
      const listening = app.listen(0, '127.0.0.1');
      await happens(listening, 'listening');
      return {
        url: `http://127.0.0.1:${(listening.address() as AddressInfo).port}`,
        close: async () => {
          listening.closeAllConnections();
          listening.close();
        },
      };
    },
  ],
  [
    'Fastify',
    async (idempotency) => {
      const app = fastify();
      app.post(
        '/notes/:id',
        idempotentFastify(idempotency, ({ body }, tx) => write((body as { text: string }).text)(tx)),
      );
      await app.register(async (inner) => {
        // Only for what is registered here.
        await inner.register(async (scope) => {
          idempotencyPlugin(idempotency)(scope, {}, () => undefined);
          scope.post('/own/:id', async (incoming, reply) => {
            const { status, body } = await own((incoming as { idempotency?: Claim }).idempotency);
            return reply.code(status).header('x-own', 'yes').header('set-cookie', 'a=b').send(body);
          });
        });
      });
      return { url: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() };
    },
  ],
];

describe.each(sites)('%s', (_name, open) => {
  let site: Site;
  beforeEach(async () => {
    site = await open(make());
  });
  afterEach(() => site.close());
  /** Until the answer has ended: its head may leave before it is recorded. */
  const post = async (path: string, text = 'a', signal?: AbortSignal): Promise<Response> => {
    const answer = await fetch(`${site.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'k' },
      body: JSON.stringify({ text }),
      ...(signal === undefined ? {} : { signal }),
    });
    await answer.clone().text();
    return answer;
  };

  test('replays status, fields and body, and refuses another body or path parameter', async () => {
    const first = await post('/notes/7');
    const again = await post('/notes/7');
    expect([
      first.status,
      again.status,
      first.headers.get('idempotency-replayed'),
      again.headers.get('idempotency-replayed'),
    ]).toEqual([201, 201, null, 'true']);
    expect([await again.text(), again.headers.get('content-type')]).toEqual([
      await first.text(),
      first.headers.get('content-type'),
    ]);
    expect([(await post('/notes/7', 'b')).status, (await post('/notes/8')).status, await notes()]).toEqual([
      422,
      422,
      ['a'],
    ]);
  });

  test('a handler that answers by itself is replayed, and one that fails is not', async () => {
    let runs = 0;
    own = async () => {
      runs += 1;
      return runs === 1 ? { status: 503, body: 'not now' } : { status: 202, body: `run ${runs} ü` };
    };
    expect((await post('/own/7')).status).toBe(503);
    const first = await post('/own/7');
    const again = await post('/own/7');
    expect([first.status, again.status, again.headers.get('x-own'), again.headers.get('set-cookie')]).toEqual(
      [202, 202, 'yes', null],
    );
    expect([await first.text(), await again.text(), runs]).toEqual(['run 2 ü', 'run 2 ü', 2]);
  });

  test('a handler that answers by itself commits its effect with its answer', async () => {
    own = async (claim) => {
      const { status, body } = await claim!.transaction(write('a', { status: 201, body: 'done' }));
      return { status, body: String(body) };
    };
    expect([(await post('/own/7')).status, await (await post('/own/7')).text(), await notes()]).toEqual([
      201,
      'done',
      ['a'],
    ]);
  });

  test('who comes meanwhile is told when to come again', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let runs = 0;
    own = async () => {
      runs += 1;
      await promise;
      return { status: 200, body: 'late' };
    };
    const first = post('/own/7');
    await expect.poll(() => runs).toBe(1);
    const meanwhile = await post('/own/7');
    expect([meanwhile.status, Number(meanwhile.headers.get('retry-after')) > 0]).toEqual([409, true]);
    resolve();
    expect((await first).status).toBe(200);
  });

  test('the answer is kept for a client that went away before it', async () => {
    const gone = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    let runs = 0;
    own = async () => {
      runs += 1;
      await promise;
      return { status: 200, body: `run ${runs}` };
    };
    const first = post('/own/7', 'a', gone.signal);
    await expect.poll(() => runs).toBe(1);
    gone.abort();
    await expect(first).rejects.toThrow();
    resolve();
    await expect.poll(async () => (await post('/own/7')).text(), { timeout: 10_000 }).toBe('run 1');
    expect(runs).toBe(1);
  });
});
