import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { sql } from '../database/sql.ts';
import { createIdempotency, type Claim, type Idempotency } from './idempotency.ts';
import { idempotencyMigrations } from './migrations.ts';

/** One key whose work calls outside: who may begin it, who may end it, and that it ends once. */

let server: TestDatabase;
let database: Database;
let idempotency: Idempotency;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [idempotencyMigrations]);
  await database.execute(sql`create table note (key text not null)`);
  idempotency = createIdempotency({ database });
});
afterAll(async () => {
  await database.close();
  await server.drop();
});

type Step =
  | { readonly is: 'claim' | 'once'; readonly input: string }
  /** By the attempt of that number, alive or taken for dead. */
  | { readonly is: 'commit' | 'refuse' | 'free'; readonly by: number }
  | { readonly is: 'lapse' };
const input = fc.constantFrom('a', 'b');
const by = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ is: fc.constant('claim' as const), input }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant('once' as const), input }) },
  { weight: 3, arbitrary: fc.record({ is: fc.constantFrom('commit' as const, 'refuse', 'free'), by }) },
  { weight: 2, arbitrary: fc.constant({ is: 'lapse' as const }) },
);

let lives = 0;

class Life {
  readonly key = `life ${(lives += 1)}`;
  readonly claims: Claim[] = [];
  state:
    | { readonly is: 'new' }
    | { readonly is: 'running'; readonly input: string; readonly owner: number; isLapsed: boolean }
    | { readonly is: 'done'; readonly input: string } = { is: 'new' };

  /** What whoever sends that is answered; undefined when he begins. */
  expected(sent: string): object | undefined {
    const { state } = this;
    if (state.is === 'new') return undefined;
    if (state.input !== sent) return { code: 'PL_IDEMPOTENCY_REUSED' };
    if (state.is === 'done') return { status: 201, body: `${this.key} done`, replayed: true };
    return state.isLapsed ? undefined : { code: 'PL_IDEMPOTENCY_BUSY' };
  }

  request(sent: string): Parameters<Idempotency['claim']>[0] {
    return { method: 'POST', route: '/', field: this.key, client: '', input: sent };
  }

  readonly effect: Parameters<Claim['transaction']>[0] = async (tx) => {
    await tx.execute(sql`insert into note values (${this.key})`);
    return { status: 201, body: `${this.key} done` };
  };

  async step(each: Step): Promise<void> {
    const { state } = this;
    if (each.is === 'lapse') {
      await database.execute(
        sql`update plimsoll.idempotency set busy_until = now() where key = ${this.key} and busy_until is not null`,
      );
      if (state.is === 'running') state.isLapsed = true;
      return;
    }
    if (each.is === 'claim') {
      const expected = this.expected(each.input);
      const got = await idempotency.claim(this.request(each.input)).catch((error: unknown) => error);
      if (expected !== undefined) return expect(got).toMatchObject(expected);
      this.claims.push(got as Claim);
      expect(this.claims.at(-1)?.key).toBe(this.claims[0]?.key);
      this.state = { is: 'running', input: each.input, owner: this.claims.length - 1, isLapsed: false };
      return;
    }
    if (each.is === 'once') {
      const expected = this.expected(each.input);
      const got = await idempotency
        .once(this.request(each.input), this.effect)
        .catch((error: unknown) => error);
      expect(got).toMatchObject(expected ?? { status: 201, replayed: false });
      if (expected === undefined) this.state = { is: 'done', input: each.input };
      return;
    }
    if (!('by' in each)) return;
    const claim = this.claims[each.by];
    if (claim === undefined) return;
    const owns = state.is === 'running' && state.owner === each.by;
    if (each.is === 'free') {
      await claim.free();
      if (owns) state.isLapsed = true;
      return;
    }
    if (each.is === 'refuse') {
      // An answer that is not kept: nothing is written, and the key is as before.
      const refused = await claim.transaction(async (tx) => ({ ...(await this.effect(tx)), status: 503 }));
      expect(refused).toMatchObject({ status: 503 });
      return;
    }
    const got = await claim.transaction(this.effect).catch((error: unknown) => error);
    expect(got).toMatchObject(owns ? { status: 201, replayed: false } : { code: 'PL_IDEMPOTENCY_BUSY' });
    if (owns) this.state = { is: 'done', input: state.input };
  }
}

test('whatever is begun, left, taken over and ended late: one effect, and the answer of its owner', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 15, size: 'max' }), async (steps) => {
      const life = new Life();
      for (const each of steps) await life.step(each);
      const { n } = await database.one<{ n: number }>(
        sql`select count(*)::int as n from note where key = ${life.key}`,
      );
      expect(n).toBe(life.state.is === 'done' ? 1 : 0);
    }),
    { numRuns: 100 },
  );
});
