import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { App } from '../app/app.ts';
import { sql } from '../database/sql.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError } from '../kernel/errors.ts';
import { ledger, ledgerApp, ledgerTables, now } from '../../test/ledger/app.ts';

/** One life of one key: whatever is sent under it, and whoever dies, its effect is there as often as its model says. */

let server: TestDatabase;
let apps: readonly [App, App];
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  apps = [ledgerApp(server.url, {}, { listen: false }), ledgerApp(server.url, {}, { listen: false })];
  await apps[0].start();
  await apps[0].database.execute(ledgerTables);
  await apps[1].start();
});
afterAll(async () => {
  for (const app of apps) await app.stop();
  await server.drop();
});

/** `crash` ends the connection between the effect and its COMMIT. */
const fate = fc.constantFrom('good', 'declared', 'thrown', 'crash');
const send = fc.record({ is: fc.constant('send'), text: fc.constantFrom('a', 'b'), fate, at: fc.nat(1) });
const both = fc.record({ is: fc.constant('both'), text: fc.constantFrom('a', 'b'), fate });
const expire = fc.record({ is: fc.constant('expire') });
type Step = {
  readonly is: 'send' | 'both' | 'expire';
  readonly text?: string;
  readonly fate?: 'good' | 'declared' | 'thrown' | 'crash';
  readonly at?: number;
};

let lives = 0;

class Life {
  readonly key = `life ${(lives += 1)}`;
  /** What is known of the key. */
  known: { readonly input: string; readonly answer: unknown } | undefined;
  effects = 0;

  async step({ is, text = '', fate = 'good', at = 0 }: Step): Promise<void> {
    if (is === 'expire') {
      await apps[0].database.execute(
        sql`update plimsoll.idempotency set expires_at = now() where key = ${this.key}`,
      );
      this.known = undefined;
      return;
    }
    const input = { text: `${this.key} ${text}` };
    now.fate = fate;
    const sent = is === 'both' ? [0, 1] : [at];
    const outcomes = await Promise.all(
      sent.map((which) =>
        runInContext(createContext({ key: this.key }), () => apps[which]!.call(ledger.add, input)).then(
          (answer) => ({ answer }),
          (error: unknown) => ({ error }),
        ),
      ),
    );
    const answers = outcomes.flatMap((outcome) => ('answer' in outcome ? [outcome.answer] : []));
    const errors = outcomes.flatMap((outcome) => ('error' in outcome ? [outcome.error] : []));
    const busy = errors.filter((error) => isPlimsollError(error, 'PL_IDEMPOTENCY_BUSY'));
    if (this.known !== undefined) {
      if (this.known.input === input.text) expect(answers).toEqual(sent.map(() => this.known?.answer));
      else
        for (const outcome of outcomes)
          expect(outcome).toMatchObject({ error: { code: 'PL_IDEMPOTENCY_REUSED' } });
      return;
    }
    if (fate === 'thrown' || fate === 'crash') {
      expect(answers).toEqual([]);
      return;
    }
    // Only who finds another one at it is refused, and that one is answered.
    expect(errors).toEqual(busy);
    expect(answers.length).toBeGreaterThan(0);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    this.known = { input: input.text, answer: answers[0] };
    if (fate === 'good') this.effects += 1;
  }

  async count(): Promise<number> {
    const { n } = await apps[0].database.one<{ n: number }>(
      sql`select count(*)::int as n from ledger.note where text like ${`${this.key} %`}`,
    );
    return n;
  }
}

test('one key, any sends, crashes and expiries: effect and answer are those of the first that ended', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 5, arbitrary: send }, { weight: 3, arbitrary: both }, expire), {
        minLength: 1,
        maxLength: 12,
        size: 'max',
      }),
      async (steps) => {
        const life = new Life();
        for (const each of steps) {
          await life.step(each as Step);
          expect(await life.count()).toBe(life.effects);
        }
      },
    ),
    { numRuns: 60 },
  );
});
