import { expect, test } from 'vitest';
import { appDelta, type OperationStatements, type StatementCounts } from './app-window.ts';
import { findNPlusOne } from './n-plus-one.ts';

const buckets = (...counts: number[]): number[] => [...counts, ...Array<number>(10 - counts.length).fill(0)];

function statement(given: Partial<StatementCounts>): StatementCounts {
  return {
    text: 'select 1',
    total: 100,
    rows: 100,
    totalMs: 100,
    maxPerExecution: 1,
    perExecution: buckets(100),
    ...given,
  };
}

const heads = statement({ text: 'select id from orders where customer_id = $1', rows: 1_000 });
const lines = statement({
  text: 'select sum(pence)\n  from lines where order_id = $1',
  total: 1_000,
  rows: 1_000,
  totalMs: 500,
  // 20 executions with 3 to 4 runs, 80 with 9 to 16.
  perExecution: buckets(0, 0, 20, 0, 80),
});
const find = (...operations: OperationStatements[]): ReturnType<typeof findNPlusOne> =>
  findNPlusOne({
    operations,
    windowMs: 10_000,
    operationCostOf: () => undefined,
    verify: 'plimsoll load',
  });

test('a statement for each row of another is named with counts, cost and what it would be', () => {
  const [finding, ...others] = find({
    operation: 'orders.byCustomer',
    executions: 100,
    statements: [heads, lines],
  });
  expect(others).toEqual([]);
  expect(finding).toEqual({
    rule: 'n-plus-one',
    title: 'orders.byCustomer runs one statement 10 times in each execution',
    operations: ['orders.byCustomer'],
    statement: 'select sum(pence) from lines where order_id = $1',
    evidence: [
      '1,000 runs in 100 executions: 3 to 16 times in one, so it grows with the data',
      'once for each row of the statement before it: select id from orders where customer_id = $1',
    ],
    // Half a millisecond a run: 900 of the 1,000 would go, within ten seconds.
    cost: { msPerCall: 5, callsPerSecond: 10, share: 500 / 600, savedMsPerSecond: 45 },
    fix: {
      text: 'in the handler of orders.byCustomer, collect the values and ask once, or join it into the statement that gives the rows',
      code: '… where order_id = any($1)   -- and order_id among the columns, to tell the rows apart',
    },
    gain: { unit: 'statements per execution', before: 11, after: 2 },
    proved: true,
    verify: 'plimsoll load',
  });
});

test('without a statement that gives the rows it says only what was counted', () => {
  const [finding] = find({ operation: 'a.b', executions: 100, statements: [lines] });
  expect(finding?.evidence).toEqual([
    '1,000 runs in 100 executions: 3 to 16 times in one, so it grows with the data',
  ]);
});

test('executions that were under way at the edges of the window do not make it look as if it varied', () => {
  const cut = { ...lines, perExecution: buckets(1, 0, 0, 1, 98) };
  const [finding] = find({ operation: 'a.b', executions: 100, statements: [cut] });
  expect(finding?.evidence).toEqual(['1,000 runs in 100 executions: 9 to 16 times in one']);
});

test('writes in a loop count, and get the statement that writes many rows', () => {
  const insert = statement({ ...lines, text: 'insert into lines values ($1, $2)', rows: 0 });
  const [finding] = find({ operation: 'a.b', executions: 100, statements: [insert] });
  expect(finding?.fix.code).toMatch(/jsonb_to_recordset/);
});

test.each([
  ['once in each execution', { total: 100, perExecution: buckets(100) }, 100],
  ['up to four times', { total: 350, perExecution: buckets(0, 0, 100) }, 100],
  ['in too few executions', { total: 40, perExecution: buckets(0, 0, 0, 4) }, 8],
  ['in a small part of them', { total: 180, perExecution: buckets(91, 0, 0, 9) }, 100],
])('%s is no finding', (_name, counts, executions) => {
  expect(find({ operation: 'a.b', executions, statements: [statement(counts)] })).toEqual([]);
});

test('only the window counts, whatever happened before', () => {
  const earlier = [{ operation: 'a.b', executions: 100, statements: [lines] }];
  const later = [
    {
      operation: 'a.b',
      executions: 130,
      statements: [
        { ...lines, total: 1_030, rows: 1_030, totalMs: 530, perExecution: buckets(30, 0, 20, 0, 80) },
      ],
    },
  ];
  const delta = appDelta(earlier, later);
  expect(delta).toEqual([
    {
      operation: 'a.b',
      executions: 30,
      statements: [{ ...lines, total: 30, rows: 30, totalMs: 30, perExecution: buckets(30) }],
    },
  ]);
  expect(find(...delta)).toEqual([]);
});

test('an app that was started anew in the window is read from its start', () => {
  const earlier = [{ operation: 'a.b', executions: 500, statements: [lines] }];
  const later = [{ operation: 'a.b', executions: 100, statements: [lines] }];
  expect(appDelta(earlier, later)).toEqual(later);
});
