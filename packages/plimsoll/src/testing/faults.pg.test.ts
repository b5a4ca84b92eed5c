import { createTestDatabase } from '@plimsoll/embedded';
import fc from 'fast-check';
import { beforeEach, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { command, contract, event, isPlimsollError, module, sql, type Module } from '../index.ts';
import { createDatabase, type Database } from '../database/database.ts';
import { tasks } from '../kernel/channels.ts';
import { fake } from './fake.ts';
import { faultDefaults, underFaults, type Fault, type FaultKind, type Faults } from './faults.ts';
import { scenario } from './scenario.ts';
import { testModule } from './test-module.ts';
import { untilIdle } from './until-idle.ts';

const stock = contract('stock', {
  take: command({ input: z.object({ reservation: z.string() }) }),
});
const parcels = contract('parcels', {
  book: command({ input: z.object({ id: z.string() }) }),
  announce: command({ input: z.object({ id: z.string() }) }),
  booked: event({ payload: z.object({ id: z.string() }) }),
});

/** What is wrong with the module, if anything. */
type Mistake = 'none' | 'new-mail-key' | 'new-reservation' | 'outside-its-transaction' | 'memory';

/** The world outside: a mail server that knows one mail by its key, and the stock that knows one reservation. */
let mails: Map<string, string>;
let reservations: Map<string, number>;
/** Errors that handlers saw, and what their runs did. */
let seen: unknown[];
let ran: string[];
let remembered: number;
beforeEach(() => forget());

function forget(): void {
  mails = new Map();
  reservations = new Map();
  seen = [];
  ran = [];
  remembered = 0;
}

function parcelsModule(mistake: Mistake, elsewhere?: Database, maxAttempts = 20): Module {
  let mail = 0;
  const noting = async <T>(what: string, run: () => Promise<T>): Promise<T> => {
    ran.push(what);
    try {
      return await run();
    } catch (error) {
      seen.push(error);
      throw error;
    }
  };
  return module(parcels, {
    owns: { schema: 'parcels', migrations: new URL('./fixtures/parcels/', import.meta.url) },
    uses: [stock],
    commands: {
      book: (input, { tx, emit, enqueue }) =>
        noting('book', async () => {
          await tx.execute(sql`insert into parcels.parcel (id) values (${input.id})`);
          await tx.execute(sql`update parcels.total set booked = booked + 1`);
          emit(parcels.booked, input);
          enqueue(parcels.announce, input);
        }),
      announce: (input, { external }) =>
        noting('announce', async () => {
          await external('mail', input.id, async (_signal, key) => {
            ran.push('mail');
            mails.set(mistake === 'new-mail-key' ? `${key} ${(mail += 1)}` : key, input.id);
          });
        }),
    },
    on: (on) => [
      on(parcels.booked, { name: 'take', maxAttempts }, (payload, { tx, call, key }) =>
        noting('take', async () => {
          const reservation = mistake === 'new-reservation' ? `${key} ${ran.length}` : key;
          if (mistake === 'memory') remembered += 1;
          await call(stock.take, { reservation });
          const statement = sql`
            update parcels.parcel set seen = seen + 1, reservation = ${reservation} where id = ${payload.id}`;
          await (mistake === 'outside-its-transaction' ? elsewhere : tx)?.execute(statement);
        }),
      ),
    ],
  });
}

interface Given {
  readonly mistake?: Mistake;
  readonly ids?: readonly string[];
  /** Whether each parcel waits until all of the one before has happened. */
  readonly oneByOne?: boolean;
  /** Of the subscription. */
  readonly maxAttempts?: number;
}

/** One test of the module: whatever happens on the way, each parcel is there once, taken once and mailed once. */
function body({
  mistake = 'none',
  ids = ['a', 'b', 'c'],
  oneByOne = false,
  maxAttempts,
}: Given): (faults: Faults) => Promise<void> {
  return async (faults) => {
    forget();
    const database = await createTestDatabase(inject('cluster'));
    const elsewhere = createDatabase({ url: database.url });
    try {
      await using tested = await testModule(parcelsModule(mistake, elsewhere, maxAttempts), {
        uses: {
          stock: fake(stock, {
            take: async ({ reservation }) => {
              reservations.set(reservation, (reservations.get(reservation) ?? 0) + 1);
            },
          }),
        },
        database,
        faults,
      });
      for (const one of ids) {
        await tested.call(parcels.book, { id: one });
        if (oneByOne) await untilIdle(tested);
      }
      await untilIdle(tested);
      expect(await tested.database.query(sql`select id, seen from parcels.parcel order by id`)).toEqual(
        ids.map((one) => ({ id: one, seen: 1 })),
      );
      expect(await tested.database.one(sql`select booked from parcels.total`)).toEqual({
        booked: ids.length,
      });
      expect([...mails.values()].toSorted()).toEqual(ids);
      expect(reservations.size).toBe(ids.length);
      if (mistake === 'memory') expect(remembered).toBe(ids.length);
    } finally {
      await elsewhere.close();
      await database.drop();
    }
  };
}

const codes = (): unknown[] => seen.map((error) => isPlimsollError(error) && error.code);
const only = (
  kind: FaultKind,
): { readonly rates: object; readonly seed: number; readonly maxFaults: number } => ({
  rates: { [kind]: 1 },
  seed: 1,
  maxFaults: 1,
});
async function happenedUnder(kind: FaultKind, given: Given = {}): Promise<readonly Fault[]> {
  let happened: readonly Fault[] = [];
  await underFaults(only(kind), async (faults) => {
    ({ happened } = faults);
    await body({ ids: ['a'], ...given })(faults);
  });
  return happened;
}
const times = (what: string): number => ran.filter((one) => one === what).length;

test('a module that is right passes whatever the seed', async () => {
  const met = new Set<FaultKind>();
  await fc.assert(
    fc.asyncProperty(fc.nat(), (seed) =>
      underFaults({ seed }, async (faults) => {
        await body({})(faults);
        for (const { kind } of faults.happened) met.add(kind);
      }),
    ),
    { numRuns: 10, endOnFailure: true },
  );
  // Or this test would test nothing.
  expect(met.size).toBeGreaterThan(4);
});

test('the usage that the docs show', async () => {
  const database = await createTestDatabase(inject('cluster'));
  const taken = fake(stock, { take: async () => undefined });
  // #region under-faults
  await underFaults({}, async (faults) => {
    await using tested = await testModule(parcelsModule('none'), {
      uses: { stock: taken },
      database,
      faults,
    });
    await scenario(tested).call(parcels.book, { id: 'a' }).untilIdle();
    expect([...mails.values()]).toEqual(['a']); // one mail, whatever went wrong on the way
  });
  // #endregion
  await database.drop();
});

test.each(['new-mail-key', 'new-reservation', 'outside-its-transaction', 'memory'] as const)(
  'a mistake that no test without faults sees is found: %s',
  async (mistake) => {
    await underFaults({ rates: {} }, body({ mistake }));
    await expect(underFaults({ seed: 1, runs: 20 }, body({ mistake }))).rejects.toMatchObject({
      message: expect.stringMatching(
        /under faults; to repeat: \{ seed: \d+ \}; what had happened:\n {2}[a-z-]+: parcels\.\w+, run \d+, /,
      ) as string,
      // One of the body's own, and not a task that was given up; but for a call that is made again with another input,
      // which is refused under its key until it is.
      cause: mistake === 'new-reservation' ? { code: 'PL_LIFECYCLE' } : { name: 'AssertionError' },
    });
  },
);

test('the same seed gives the same faults where the runs are the same', async () => {
  // A task that is taken over may find its external effect busy, and then runs once more.
  const { 'taken-over': _, ...rates } = faultDefaults.rates;
  const runs: (readonly string[])[] = [];
  for (let time = 0; time < 2; time += 1) {
    await underFaults({ seed: 5, rates }, async (faults) => {
      await body({ ids: ['a', 'b', 'c'], oneByOne: true })(faults);
      runs.push(faults.happened.map((fault) => Object.values(fault).join(' ')).toSorted());
    });
  }
  expect(runs[0]?.length).toBeGreaterThan(2);
  expect(runs[1]).toEqual(runs[0]);
});

test('connection-lost: the server ends the connection before a statement', async () => {
  const happened = await happenedUnder('connection-lost');
  expect(happened).toContainEqual({
    kind: 'connection-lost',
    operation: 'parcels.take',
    run: 1,
    at: 'before statement 1',
  });
  expect(codes()).toEqual(['PL_DATABASE_UNAVAILABLE', 'PL_DATABASE_UNAVAILABLE']);
  expect([times('book'), times('take')]).toEqual([2, 2]);
});

test('serialization-failure: the server fails a statement with 40001', async () => {
  await happenedUnder('serialization-failure');
  expect(codes()).toEqual(['PL_SERIALIZATION', 'PL_SERIALIZATION']);
  expect(seen).toMatchObject([{ cause: { code: '40001' } }, { cause: { code: '40001' } }]);
});

test('crash-before-commit: handlers that had succeeded are run again', async () => {
  const happened = await happenedUnder('crash-before-commit');
  expect(happened.map(({ operation }) => operation).toSorted()).toEqual([
    'parcels.announce',
    'parcels.book',
    'parcels.take',
  ]);
  expect(seen).toEqual([]);
  expect([times('book'), times('take'), times('announce')]).toEqual([2, 2, 2]);
});

test('taken-over: the completion of the first worker is refused and the other one runs it again', async () => {
  const outcomes: string[] = [];
  const unsubscribe = tasks.subscribe(({ name, outcome, attempt }) =>
    outcomes.push(`${name} ${attempt} ${outcome}`),
  );
  const happened = await happenedUnder('taken-over').finally(unsubscribe);
  expect(happened.map(({ operation }) => operation).toSorted()).toEqual(['parcels.announce', 'parcels.take']);
  expect([times('book'), times('take')]).toEqual([1, 2]);
  expect(outcomes).toContain('parcels.take 1 lost');
  expect(outcomes).toContain('parcels.take 2 done');
});

test('call-refused: nothing was done; call-answer-lost: it was', async () => {
  const reached = (): number => [...reservations.values()].reduce((sum, one) => sum + one, 0);
  await happenedUnder('call-refused');
  expect([codes(), reached()]).toEqual([['PL_DATABASE_UNAVAILABLE'], 1]);
  await happenedUnder('call-answer-lost');
  expect([codes(), reached()]).toEqual([['PL_COMMIT_UNKNOWN'], 2]);
});

test('external-answer-lost: the outside has had it, and is asked again with the same key', async () => {
  const happened = await happenedUnder('external-answer-lost');
  expect(happened).toEqual([
    { kind: 'external-answer-lost', operation: 'parcels.announce', run: 1, at: 'external mail' },
  ]);
  expect([times('announce'), times('mail')]).toEqual([2, 2]);
});

test('delayed: deliveries overtake each other', async () => {
  const database = await createTestDatabase(inject('cluster'));
  try {
    await underFaults({ seed: 1, rates: { delayed: 1 } }, async (faults) => {
      const order: number[] = [];
      const numbers = contract('numbers', {
        drawn: event({ payload: z.object({ value: z.number() }) }),
        draw: command({ input: z.object({}) }),
      });
      const values = Array.from({ length: 8 }, (_, index) => index);
      await using tested = await testModule(
        module(numbers, {
          owns: { schema: 'numbers' },
          commands: {
            draw: async (_input, { emit }) => values.forEach((value) => emit(numbers.drawn, { value })),
          },
          on: (on) => [on(numbers.drawn, { name: 'note' }, async ({ value }) => void order.push(value))],
        }),
        { database, faults },
      );
      await scenario(tested).call(numbers.draw, {}).untilIdle();
      expect(order.toSorted((one, other) => one - other)).toEqual(values);
      expect(order).not.toEqual(values);
      expect(faults.happened).toHaveLength(values.length);
    });
  } finally {
    await database.drop();
  }
});

test('outside-answer-lost: the test is told that it may be done, and it is', async () => {
  await underFaults(only('outside-answer-lost'), async (faults) => {
    const database = await createTestDatabase(inject('cluster'));
    try {
      await using tested = await testModule(parcelsModule('none'), {
        uses: { stock: fake(stock, { take: async () => undefined }) },
        database,
        faults,
      });
      await expect(tested.call(parcels.book, { id: 'a' })).rejects.toMatchObject({
        code: 'PL_COMMIT_UNKNOWN',
      });
      await untilIdle(tested);
      expect(await tested.database.query(sql`select id, seen from parcels.parcel`)).toEqual([
        { id: 'a', seen: 1 },
      ]);
    } finally {
      await database.drop();
    }
  });
});

test('what fails by itself is not called again', async () => {
  await underFaults({ rates: {} }, async (faults) => {
    const database = await createTestDatabase(inject('cluster'));
    try {
      await using tested = await testModule(parcelsModule('none'), {
        uses: { stock: fake(stock, { take: async () => undefined }) },
        database,
        faults,
      });
      await tested.call(parcels.book, { id: 'a' });
      await expect(tested.call(parcels.book, { id: 'a' })).rejects.toMatchObject({ code: '23505' });
      expect(times('book')).toBe(2);
    } finally {
      await database.drop();
    }
  });
});

test('the most that can go wrong still ends: every kind at once, always', async () => {
  const rates = Object.fromEntries(Object.keys(faultDefaults.rates).map((kind) => [kind, 1]));
  const everything = { seed: 1, rates: { ...rates, 'outside-answer-lost': 0 } };
  await underFaults(everything, body({}));
  for (const maxAttempts of [1, 2]) await underFaults(everything, body({ maxAttempts }));
});
