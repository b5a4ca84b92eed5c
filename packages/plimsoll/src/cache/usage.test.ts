import { expect, test } from 'vitest';
// #region usage
import { cachePolicy, createCache } from 'plimsoll/cache';

const cache = createCache({ name: 'shop' });

/** For a minute; ends with anything that changes the product. When the database is slow or down, a minute old will do. */
const products = cachePolicy({
  ttlMs: 60_000,
  tags: (key) => [`product:${key}`, 'products'],
  staleIfErrorMs: 60_000,
  softTimeoutMs: 100,
});

function product(id: string): Promise<Product | null> {
  return cache.get(id, products, () => findProduct(id));
}

async function rename(id: string, name: string): Promise<void> {
  await updateName(id, name); // and commit
  await cache.invalidate({ tags: [`product:${id}`] });
}
// #endregion

interface Product {
  readonly name: string;
}
const table = new Map([['7', { name: 'Lantern' }]]);
let reads = 0;
async function findProduct(id: string): Promise<Product | null> {
  reads += 1;
  return table.get(id) ?? null;
}
async function updateName(id: string, name: string): Promise<void> {
  table.set(id, { name });
}

test('a product is read once, and again when it was renamed', async () => {
  expect([await product('7'), await product('7'), reads]).toEqual([
    { name: 'Lantern' },
    { name: 'Lantern' },
    1,
  ]);
  await rename('7', 'Lamp');
  expect([await product('7'), reads]).toEqual([{ name: 'Lamp' }, 2]);
  expect([await product('8'), await product('8'), reads]).toEqual([null, null, 3]);
});

test('writing through keeps what was written', async () => {
  // #region write
  const renamed = await cache.write('7', products, async () => {
    const next = { name: 'Torch' };
    await updateName('7', next.name);
    return next;
  });
  // #endregion
  expect(renamed).toEqual({ name: 'Torch' });
  // #region peek
  const shown = cache.peek('7') ?? (await product('7'));
  // #endregion
  expect(shown).toBe(renamed);
});

test('the loader is told what its value must reflect', async () => {
  const history: { sql: string; atLeast: bigint | undefined }[] = [];
  const replica = {
    async read(sql: string, options: { atLeast: { epoch: string; lsn: bigint } | undefined }) {
      history.push({ sql, atLeast: options.atLeast?.lsn });
      return { rows: [sql], replayed: { epoch: '1.main', lsn: 120n } };
    },
  };
  const commit = { epoch: '1.main', lsn: 100n };
  // #region position
  // `commit` is where the write was committed: an epoch and a log position.
  await cache.invalidate({ tags: ['products'], at: commit });
  const list = await cache.get('list', products, async ({ atLeast, reflect }) => {
    const { rows, replayed } = await replica.read('select name from product', { atLeast });
    reflect(replayed);
    return rows;
  });
  // #endregion
  expect(list).toHaveLength(1);
  expect(history).toEqual([{ sql: 'select name from product', atLeast: 100n }]);
});
