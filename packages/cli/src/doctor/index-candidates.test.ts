import { expect, test } from 'vitest';
import { filterColumns } from './filter-columns.ts';
import { createIndexSql, indexCandidates } from './index-candidates.ts';
import { wholeScans, type PlanNode } from './plan-tree.ts';
import { dearStatements } from './missing-index.ts';
import { shapeOf } from './statement-text.ts';

/** As PostgreSQL 18.4 gave it for `where customer_id = $1 order by placed_at desc, id desc limit $2`. */
const recorded: PlanNode = {
  'Node Type': 'Limit',
  'Total Cost': 5491.5,
  'Plan Rows': 4,
  Plans: [
    {
      'Node Type': 'Gather Merge',
      'Total Cost': 5495.7,
      'Plan Rows': 40,
      'Workers Planned': 2,
      Plans: [
        {
          'Node Type': 'Sort',
          'Total Cost': 4491.06,
          'Plan Rows': 17,
          'Sort Key': ['o.placed_at DESC', 'o.id DESC'],
          Plans: [
            {
              'Node Type': 'Seq Scan',
              'Total Cost': 4490.67,
              'Plan Rows': 17,
              Schema: 'orders',
              'Relation Name': 'orders',
              Alias: 'o',
              Filter: '(o.customer_id = $1)',
            },
          ],
        },
      ],
    },
  ],
};

test('a sequential scan of a recorded plan gives the index with its order, the narrower one first', () => {
  const [scan, ...others] = wholeScans(recorded);
  expect(others).toEqual([]);
  // 17 rows of each worker, and the leader does 0.4 of a worker's part.
  expect(scan).toMatchObject({ schema: 'orders', table: 'orders', keptRows: 41 });
  expect(indexCandidates(scan!, new Map())).toEqual([
    { name: 'orders_by_customer_id', columns: ['customer_id'] },
    { name: 'orders_by_customer_id_placed_at_id', columns: ['customer_id', 'placed_at desc', 'id desc'] },
  ]);
});

test.each([
  ['(o.customer_id = $1)', ['customer_id'], []],
  ["((o.status = 'a AND b'::text) AND (o.customer_id = $1))", ['status', 'customer_id'], []],
  ['((o.placed_at >= $2) AND (o.placed_at < $3) AND (o.customer_id = $1))', ['customer_id'], ['placed_at']],
  ['((o.email)::text = $1)', ['email'], []],
  ['(o.id = ANY ($1))', ['id'], []],
  ['(o.deleted_at IS NULL)', ['deleted_at'], []],
  ['($1 = o.customer_id)', ['customer_id'], []],
  ['(o."customerId" = $1)', ['"customerId"'], []],
  ['((o.a = $1) OR (o.b = $2))', [], []],
  ['(lower(o.email) = $1)', [], []],
  ['(o.a = o.b)', [], []],
  ['(o.a <> $1)', [], []],
  ['(p.a = $1)', [], []],
  ['(("o".a = $1) AND ("o".b = "o".c))', ['a'], []],
])('of the filter %s the equal columns are %j and the ranges %j', (filter, equal, range) => {
  expect(filterColumns(filter, 'o')).toEqual({ equal, range });
});

test('the column with most different values comes first, a range last, and never with an order', () => {
  const scan = {
    node: 'Seq Scan',
    schema: 's',
    table: 't',
    alias: 't',
    filter: '((t.status = $1) AND (t.customer = $2) AND (t.at > $3))',
    keptRows: 1,
    sortKey: ['t.id'],
  };
  const shares = new Map([
    ['status', 0.001],
    ['customer', 0.4],
  ]);
  expect(indexCandidates(scan, shares).map(({ columns }) => columns)).toEqual([
    ['customer', 'status'],
    ['customer', 'status', 'at'],
  ]);
});

test('names that need quotes have them, and the statement locks nobody out', () => {
  const text = createIndexSql(
    '"Sales"."order"',
    { name: 'order_by_customerId', columns: ['"customerId"'] },
    { concurrently: true },
  );
  expect(text).toBe('create index concurrently "order_by_customerId" on "Sales"."order" ("customerId")');
});

const statement = (text: string, calls: number, totalMs: number) => ({
  text,
  calls,
  totalMs,
  rows: 0,
  blocks: 0,
});

test('only statements that are dear enough are looked at, dearest first', () => {
  const dear = statement('select b', 100, 900);
  const dearest = statement('update a', 100, 4_000);
  const others = [
    statement('select rare', 2, 3_000),
    statement('select quick', 10_000, 5_000),
    statement('select small', 10, 40),
    statement('vacuum', 100, 5_000),
  ];
  expect(dearStatements([dear, ...others, dearest])).toEqual([dearest, dear]);
});

test('a statement of the app is known again in pg_stat_statements, which numbers its constants', () => {
  const sent = `select id from t -- newest\n where a = $1 and b = 'x''y' and c in (1, 2, 3) limit 10`;
  const stored = 'select id from t where a = $1 and b = $2 and c in ($3 /*, ... */) limit $4';
  expect(shapeOf(sent)).toBe(shapeOf(stored));
  expect(shapeOf('select a from t')).not.toBe(shapeOf('select b from t'));
});
