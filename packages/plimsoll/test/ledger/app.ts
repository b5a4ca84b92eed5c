import { z } from 'zod';
import { createApp, type App, type AppOptions } from '../../src/app/app.ts';
import { plan } from '../../src/app/plan.ts';
import type { PlanOptions } from '../../src/app/plan-options.ts';
import { route } from '../../src/gateway/route.ts';
import { sql } from '../../src/database/sql.ts';
import { command, contract } from '../../src/modules/contract.ts';
import { module } from '../../src/modules/module.ts';

/** What a handler does after its effect. */
export const fates = ['good', 'declared', 'thrown', 'crash', 'hold'] as const;
const note = z.object({ text: z.string(), fate: z.enum(fates).default('good') });

export const ledger = contract('ledger', {
  /** Writes one row and answers its number. */
  add: command({
    input: note,
    output: z.object({ id: z.number(), at: z.coerce.date(), padding: z.string() }),
    errors: { Refused: z.object({ at: z.coerce.date() }) },
  }),
});
export const desk = contract('desk', {
  /** Calls `ledger.add` twice, writes one row of its own, and fails as often as it is told. */
  order: command({
    input: z.object({ text: z.string(), failures: z.number() }),
    output: z.object({ ids: z.array(z.number()) }),
  }),
  /** Writes nothing itself. */
  relay: command({ input: note, output: z.object({ id: z.number() }) }),
});

/** What the handlers do now; changed by tests. */
export const now: {
  /** `hold` waits for it after its effect. */
  held: Promise<void>;
  /** Instead of the fate that was sent. */
  fate: (typeof fates)[number] | undefined;
  padding: string;
  /** How often `add` was begun, and how often it had written. */
  runs: number;
  effects: number;
  /** How often `order` was begun. */
  tries: number;
} = { held: Promise.resolve(), fate: undefined, padding: '', runs: 0, effects: 0, tries: 0 };

const ledgerModule = module(ledger, {
  owns: { schema: 'ledger' },
  commands: {
    async add({ text, fate }, { tx, fail }) {
      const does = now.fate ?? fate;
      now.runs += 1;
      const { id } = await tx.one<{ id: number }>(
        sql`insert into ledger.note (text) values (${text}) returning id::int as id`,
      );
      now.effects += 1;
      if (does === 'declared') return fail('Refused', { at: new Date(id) });
      if (does === 'thrown') throw new Error('thrown');
      if (does === 'crash') await tx.execute(sql`select pg_terminate_backend(pg_backend_pid())`);
      if (does === 'hold') await now.held;
      return { id, at: new Date(id), padding: now.padding };
    },
  },
});
const deskModule = module(desk, {
  owns: { schema: 'desk' },
  uses: [ledger],
  commands: {
    async order({ text, failures }, { tx, call }) {
      now.tries += 1;
      const first = await call(ledger.add, { text: `${text} first` });
      const second = await call(ledger.add, { text: `${text} second` });
      await tx.execute(sql`insert into desk.form (text) values (${text})`);
      if (now.tries <= failures) throw new Error(`try ${now.tries}`);
      if (!first.ok || !second.ok) throw new Error('refused');
      return { ids: [first.value.id, second.value.id] };
    },
    async relay(input, { call }) {
      const added = await call(ledger.add, input);
      if (!added.ok) throw new Error(added.error);
      return { id: added.value.id };
    },
  },
});

export function ledgerApp(
  databaseUrl: string,
  more: Partial<PlanOptions> = {},
  options: AppOptions = {},
): App {
  return createApp(
    plan({
      name: 'ledger',
      modules: [ledgerModule, deskModule],
      worker: { pollMs: 20, backoff: { baseMs: 1, maxMs: 2 } },
      http: {
        port: 0,
        shed: false,
        routes: [
          route('/notes', ledger.add, { status: 201, errors: { Refused: 409 } }),
          route('/strict', ledger.add, { requiresKey: true }),
          route('/orders', desk.order, { enqueue: true }),
        ],
        authenticate: async ({ headers }) =>
          typeof headers['x-user'] === 'string' ? { principal: headers['x-user'] } : undefined,
      },
      expectedPeak: { requestsPerSecond: 1 },
      objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
      ...more,
    }),
    { databaseUrl, ...options },
  );
}

/** The modules' tables; they have no migrations of their own. */
export const ledgerTables = sql`
  create schema if not exists ledger; create schema if not exists desk;
  create table if not exists ledger.note (id bigint primary key generated always as identity, text text not null);
  create table if not exists desk.form (text text not null)`;
