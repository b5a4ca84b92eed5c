import { expect, test } from 'vitest';
import { ranked, type DoctorReport, type StatementFinding } from './finding.ts';
import { renderFindings } from './render-findings.ts';

const index: StatementFinding = {
  rule: 'missing-index',
  title: 'orders.orders is read whole for a few rows: an index is missing',
  operations: ['orders.byCustomer'],
  table: 'orders.orders',
  statement: 'select id from orders.orders where customer_id = $1 order by placed_at desc limit $2',
  evidence: ['100 calls, each reading 2,341 blocks of 8 kB and answering 9.5 rows', 'plan: Seq Scan'],
  cost: {
    msPerCall: 21.4,
    callsPerSecond: 6.66,
    share: 0.83,
    savedMsPerSecond: 141.2,
    operation: { name: 'orders.byCustomer', meanMs: 27.3, p95: { aboveMs: 25, atMostMs: 50 }, share: 0.79 },
  },
  fix: { text: 'about 8 MB on disk', sql: 'create index concurrently a on orders.orders (customer_id);' },
  gain: { unit: 'planner cost', before: 4_491.5, after: 16.6 },
  proved: true,
  verify: 'plimsoll load --seed 1',
};
const loop: StatementFinding = {
  rule: 'n-plus-one',
  title: 'orders.byCustomer runs one statement 9.5 times in each execution',
  operations: ['orders.byCustomer'],
  statement: 'select sum(pence) from orders.lines where order_id = $1',
  evidence: ['950 runs in 100 executions: 1 to 16 times in one, so it grows with the data'],
  cost: { msPerCall: 5.1, callsPerSecond: 6.66, share: 0.4, savedMsPerSecond: 30 },
  fix: { text: 'in the handler of orders.byCustomer, ask once', code: '… where order_id = any($1)' },
  gain: { unit: 'statements per execution', before: 10.5, after: 2 },
  proved: true,
  verify: 'plimsoll load --seed 1',
};
const report: DoctorReport = {
  target: 'http://127.0.0.1:3000',
  windowMs: 15_004,
  findings: [index, loop],
  examined: { operations: 12, executions: 2_345, statements: 31, databaseMs: 2_570 },
  blindSpots: [],
};

test('a person reads what, evidence, cost, fix, gain and proof of each finding', () => {
  expect(renderFindings(report)).toMatchInlineSnapshot(`
    "doctor: 2 findings
    http://127.0.0.1:3000, 15 s: 2,345 executions of 12 operations, 31 distinct statements
    with 2.6 s of database time

    1. orders.orders is read whole for a few rows: an index is missing
    Where      orders.byCustomer
    Statement  select id from orders.orders where customer_id = $1 order by placed_at desc
               limit $2
    Evidence   100 calls, each reading 2,341 blocks of 8 kB and answering 9.5 rows
               plan: Seq Scan
    Cost now   21 ms each, 6.66/s, 83 % of all database time
               79 % of the time of orders.byCustomer, which takes 27 ms on average; its p95 is
               between 25 ms and 50 ms
    Fix        about 8 MB on disk
               create index concurrently a on orders.orders (customer_id);
    Gain       planner cost 4,490 → 16.6 (÷ 271, by the planner on the twin, not a time): up
               to 141 ms of database time saved in each second of this load
    Prove      plimsoll load --seed 1   (with and without the fix)

    2. orders.byCustomer runs one statement 9.5 times in each execution
    Statement  select sum(pence) from orders.lines where order_id = $1
    Evidence   950 runs in 100 executions: 1 to 16 times in one, so it grows with the data
    Cost now   5.1 ms each, 6.66/s, 40 % of the time on statements
    Fix        in the handler of orders.byCustomer, ask once
               … where order_id = any($1)
    Gain       statements per execution 10.5 → 2 (÷ 5.3, by count): up to 30 ms of the time on
               statements saved in each second of this load
    Prove      plimsoll load --seed 1   (with and without the fix)"
  `);
});

test('without findings it says what it has seen, and what it could not', () => {
  const nothing = {
    ...report,
    findings: [],
    examined: { ...report.examined, statements: null, databaseMs: null },
    blindSpots: ['missing indexes: pg_stat_statements is not loaded'],
  };
  expect(renderFindings(nothing)).toMatchInlineSnapshot(`
    "doctor: no findings
    http://127.0.0.1:3000, 15 s: 2,345 executions of 12 operations

    Not seen   missing indexes: pg_stat_statements is not loaded"
  `);
});

test('a finding that is not proved says why, promises nothing, and stands behind those that are', () => {
  const unproved: StatementFinding = {
    ...index,
    gain: { ...index.gain, after: null },
    cost: { ...index.cost, savedMsPerSecond: 0, share: 0.99 },
    proved: false,
    unprovedBecause: 'PostgreSQL 16 cannot import statistics into a twin; that needs 18',
  };
  const text = renderFindings({ ...report, findings: [unproved] });
  expect(text).toContain('(not proved)');
  expect(text).toContain('unknown; the planner cost is 4,490 today');
  expect(text).toContain('Not proved PostgreSQL 16 cannot import statistics');
  expect(ranked([unproved, loop, index])).toEqual([index, loop, unproved]);
});

test('no line is wider than the terminal, and colours only where they are wanted', () => {
  const narrow = renderFindings(report, { width: 60 });
  expect(Math.max(...narrow.split('\n').map((line) => line.length))).toBeLessThanOrEqual(60);
  expect(narrow).not.toContain('\u001B');
  expect(renderFindings(report, { color: true })).toContain('\u001B[');
});
