import { z } from 'zod';

export type Library = typeof import('./library.ts');

const payment = z.object({ id: z.int() });

export type Ledger = ReturnType<typeof declareLedger>;

/** A payment is noted by a subscription, shipped by a job, and counted by a view. */
export function declareLedger(library: Library, hooks: Map<string, () => Promise<void>>) {
  const { command, contract, event, module, saga, sql: text, view } = library;
  const ledger = contract('ledger', {
    pay: command({ input: payment }),
    ship: command({ input: payment }),
    reserve: command({ input: payment }),
    release: command({ input: payment }),
    trip: command({ input: payment }),
    paid: event({ payload: payment, key: ({ id }) => String(id) }),
  });
  const meanwhile = async (what: string): Promise<void> => {
    const run = hooks.get(what);
    hooks.delete(what);
    await run?.();
  };
  const totals = view('totals', {
    version: 1,
    key: { one: 'int' },
    columns: { payments: 'int' },
    initial: { payments: 0 },
    fold: (on) => [
      on(
        ledger.paid,
        () => ({ one: 1 }),
        (row) => ({ payments: row.payments + 1 }),
      ),
    ],
  });
  const trip = saga({ input: payment, uses: [ledger] }, async (run, input) => {
    await run.step('reserve', ledger.reserve, input, { compensate: () => [ledger.release, input] });
    throw run.fail('Changed');
  });
  const own = module(ledger, {
    owns: { schema: 'ledger', migrations: new URL('./migrations/', import.meta.url) },
    views: [totals],
    sagas: { travel: trip },
    commands: {
      async pay({ id }, { tx, emit, enqueue }) {
        await tx.execute(text`insert into ledger.paid (id) values (${id})`);
        emit(ledger.paid, { id });
        enqueue(ledger.ship, { id });
        await meanwhile(`pay ${id}`);
      },
      async ship({ id }, { tx }) {
        await tx.execute(text`insert into ledger.shipped (id) values (${id})`);
        await meanwhile(`ship ${id}`);
      },
      async reserve({ id }, { tx }) {
        await tx.execute(text`insert into ledger.reserved (id, change) values (${id}, 1)`);
      },
      async release({ id }, { tx }) {
        await tx.execute(text`insert into ledger.reserved (id, change) values (${id}, -1)`);
        await meanwhile(`release ${id}`);
      },
      async trip({ id }, { start }) {
        start(trip, { id }, { id: String(id) });
      },
    },
    on: (on) => [
      on(ledger.paid, { name: 'note' }, async ({ id }, { tx }) => {
        await tx.execute(text`insert into ledger.noted (id) values (${id})`);
        await meanwhile(`note ${id}`);
      }),
    ],
  });
  return { contract: ledger, module: own };
}
