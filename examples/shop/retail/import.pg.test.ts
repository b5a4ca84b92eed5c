import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { sql } from 'plimsoll';
import { createDatabase, migrate, type Database } from 'plimsoll/database';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { shopModules } from '../modules.ts';
import { nowhere } from '../outside.ts';
import { importRetail } from './import.ts';

let owned: TestDatabase;
let database: Database;

beforeEach(async () => {
  owned = await createTestDatabase({ primaryUrl: inject('cluster').primaryUrl });
  database = createDatabase({ url: owned.url });
  const modules = shopModules(nowhere);
  await migrate(
    database,
    modules.flatMap(({ name, migrations }) =>
      migrations === undefined ? [] : [{ component: name, directory: migrations }],
    ),
  );
});
afterEach(async () => {
  await database.close();
  await owned.drop();
});

const countRows = (): Promise<Record<string, number>> =>
  database.one<Record<string, number>>(sql`
    select (select count(*) from catalog.products) as products,
      (select count(*) from inventory.stock) as stock,
      (select count(*) from orders.customers) as customers,
      (select count(*) from orders.orders) as orders,
      (select count(*) from orders.lines) as lines,
      (select count(*) from orders.returns) as returns,
      (select count(*) from orders.return_lines) as "returnLines",
      (select count(*) from loyalty.standings) as standings`);

const all = {
  products: 1_967,
  stock: 1_967,
  customers: 322,
  orders: 423,
  lines: 9_818,
  returns: 41,
  returnLines: 98,
  standings: 302,
};
const none = Object.fromEntries(Object.keys(all).map((table) => [table, 0]));

test('everything is imported once, and a second start finds it done', async () => {
  const report = await importRetail(database);
  expect(report).toEqual({
    alreadyDone: false,
    rows: 10_000,
    sold: 9_818,
    returned: 98,
    skipped: {
      postage: 25,
      'manual adjustment': 10,
      discount: 2,
      'bank or marketplace fee': 1,
      'sample, voucher or donation': 0,
      'unknown code': 0,
      'stock correction': 30,
      'no description': 13,
      'zero price': 3,
    },
    products: 1_967,
    customers: 322,
    orders: 423,
    returns: 41,
  });
  expect(await countRows()).toEqual(all);
  expect(await importRetail(database)).toEqual({ ...report, alreadyDone: true });
  expect(await countRows()).toEqual(all);
});

test('of two imports at once one does it and the other finds it done', async () => {
  const reports = await Promise.all([importRetail(database), importRetail(database)]);
  expect(reports.filter(({ alreadyDone }) => alreadyDone)).toHaveLength(1);
  expect(await countRows()).toEqual(all);
});

test('an import that fails half-way leaves nothing behind, and the next one does all of it', async () => {
  // In the way of the last table.
  await database.execute(sql`insert into orders.returns (id, pence) values ('C536383', 1)`);
  await expect(importRetail(database)).rejects.toThrow(/duplicate key/);
  expect(await countRows()).toEqual({ ...none, returns: 1 });
  await database.execute(sql`delete from orders.returns`);
  expect(await importRetail(database)).toMatchObject({ alreadyDone: false });
  expect(await countRows()).toEqual(all);
});

test('money adds up: order totals are their lines, standings are the orders of known customers', async () => {
  await importRetail(database);
  const sums = await database.one<Record<string, number>>(sql`
    select (select sum(pence)::bigint from orders.orders) as orders,
      (select sum(quantity::bigint * pence)::bigint from orders.lines) as lines,
      (select sum(pence)::bigint from orders.orders where customer_id is not null) as known,
      (select sum(spent_pence)::bigint from loyalty.standings) as spent`);
  expect(sums['orders']).toBe(sums['lines']);
  expect(sums['known']).toBe(sums['spent']);
});
