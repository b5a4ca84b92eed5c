import { command, contract, event, module, saga, sql, view, type Module } from 'plimsoll';
import type { AnySaga } from 'plimsoll/saga';
import { z } from 'zod';

const order = z.object({
  id: z.int(),
  account: z.int(),
  pence: z.int(),
  /** Its check throws, until it is cured. */
  poison: z.boolean(),
  /** Its booking is refused, so that its saga has to undo what it has done. */
  refused: z.boolean(),
  /** How long its jobs take. */
  slowMs: z.number(),
});
/** `release` is that of who wrote it. */
const placed = order.extend({ seq: z.int(), release: z.int() });

/** The second version is deployed while the first one runs: it writes events that the first cannot read. */
export type Release = 1 | 2;

const orders = (release: Release) =>
  contract('soak', {
    place: command({ input: order }),
    charge: command({ input: order, timeoutMs: 8_000 }),
    ship: command({ input: order, timeoutMs: 8_000 }),
    reserve: command({ input: order }),
    release: command({ input: order }),
    book: command({ input: order, errors: { Refused: z.object({}) } }),
    placed:
      release === 1
        ? event({ payload: placed, key: ({ account }) => String(account) })
        : event({
            payload: placed,
            version: 2,
            upcast: { 1: (old) => old as z.output<typeof placed> },
            key: ({ account }) => String(account),
          }),
  });

export type Order = z.output<typeof order>;
export type Orders = ReturnType<typeof orders>;

export interface SoakModule {
  readonly contract: Orders;
  readonly module: Module;
}

/** Between the tries of a step; a compensation is tried as the worker's tasks are. */
const quick = { baseMs: 100, maxMs: 2_000 } as const;
/** How often a step or a compensation throws, as if what it asks were away. */
const flaky = 0.1;
function mayFail(what: string): void {
  if (Math.random() < flaky) throw new Error(`${what} does not answer`);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What is accepted is charged by a bank, shipped by a job, noted by a subscription, and added up by a view. */
export function soakModule(release: Release, bankUrl: string): SoakModule {
  const soak = orders(release);
  const totals = view('totals', {
    version: 1,
    key: { account: 'int' },
    columns: { orders: 'int', pence: 'int' },
    initial: { orders: 0, pence: 0 },
    fold: (on) => [
      on(
        soak.placed,
        ({ account }) => ({ account }),
        (row, { pence }) => ({ orders: row.orders + 1, pence: row.pence + pence }),
      ),
    ],
  });
  const checkout = (version: number, previous: readonly AnySaga<'soak'>[]) =>
    saga({ version, input: order, uses: [soak], previous }, async (run, input) => {
      await run.step('reserve', soak.reserve, input, {
        compensate: () => [soak.release, input],
        backoff: quick,
      });
      // The second release waits a moment in between: a saga that is under way must not notice.
      if (version > 1) await run.sleep('think', 20);
      const booked = await run.step('book', soak.book, input, { backoff: quick });
      if (!booked.ok) throw run.fail('Refused');
    });
  const first = checkout(1, []);
  const current = release === 1 ? first : checkout(2, [first]);
  const own = module(soak, {
    owns: { schema: 'soak', migrations: new URL('./migrations/', import.meta.url) },
    views: [totals],
    sagas: { checkout: current },
    commands: {
      async place(input, { tx, emit, enqueue, start }) {
        const { orders: seq } = await tx.one<{ orders: number }>(sql`
          insert into soak.account as a (id, orders) values (${input.account}, 1)
          on conflict (id) do update set orders = a.orders + 1 returning orders`);
        await tx.execute(sql`
          insert into soak.placed (id, account, seq, pence) values (${input.id}, ${input.account}, ${seq}, ${input.pence})`);
        emit(soak.placed, { ...input, seq, release });
        enqueue(soak.charge, input);
        start(current, input, { id: String(input.id) });
      },
      async charge(input, { tx, enqueue, external }) {
        const { bankId } = await external('bank', String(input.id), async (signal, key) => {
          const answer = await fetch(`${bankUrl}/charges`, {
            method: 'POST',
            headers: { 'idempotency-key': key },
            body: JSON.stringify({ order: input.id, slowMs: input.slowMs }),
            signal,
          });
          if (!answer.ok) throw new Error(`the bank answered ${answer.status}`);
          return (await answer.json()) as { bankId: string };
        });
        await tx.execute(sql`insert into soak.charged (order_id, bank_id) values (${input.id}, ${bankId})`);
        enqueue(soak.ship, input);
      },
      async reserve({ id }, { tx }) {
        await tx.execute(sql`insert into soak.reserved (order_id, change) values (${id}, 1)`);
        mayFail('the warehouse');
      },
      async release({ id }, { tx }) {
        await tx.execute(sql`insert into soak.reserved (order_id, change) values (${id}, -1)`);
        mayFail('the warehouse');
      },
      async book({ id, refused }, { tx, fail }) {
        if (refused) return fail('Refused', {});
        await tx.execute(sql`insert into soak.booked (order_id) values (${id})`);
        mayFail('the ledger');
        return undefined;
      },
      async ship(input, { tx }) {
        await tx.execute(sql`insert into soak.shipped (order_id) values (${input.id})`);
        // While its transaction is open.
        if (input.slowMs > 0) await pause(input.slowMs);
      },
    },
    on: (on) => [
      on(soak.placed, { name: 'note', ordered: 'key' }, async ({ id, account, seq }, { tx }) => {
        await tx.execute(
          sql`insert into soak.noted (order_id, account, seq) values (${id}, ${account}, ${seq})`,
        );
      }),
      on(soak.placed, { name: 'check', maxAttempts: 3 }, async ({ id, poison }, { tx }) => {
        await tx.execute(sql`insert into soak.checked (order_id) values (${id})`);
        if (poison && (await tx.maybeOne(sql`select 1 from soak.cured`)) === undefined)
          throw new Error(`order ${id} is poisonous`);
      }),
    ],
  });
  return { contract: soak, module: own };
}
