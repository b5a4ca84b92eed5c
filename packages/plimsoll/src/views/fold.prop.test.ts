import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { asStored, valueProblem } from './columns.ts';
import { foldBatch, isFolding, keyBatch, rowId, type Values } from './fold.ts';
import { levels, stock } from '../../test/views/stock.ts';
import type { ReadEvent } from './view.ts';

const folded = levels('levels');
if (!isFolding(folded)) throw new Error('levels is folded');

const sku = fc.constantFrom('a', 'b', 'c');
const line = fc.record({ sku, count: fc.integer({ min: 0, max: 9 }) });
const payloads = fc.oneof(
  fc.record({
    type: fc.constant(stock.received.id),
    payload: fc.record({ sku, count: fc.nat(9), place: fc.constantFrom('x', 'y') }),
  }),
  fc.record({
    type: fc.constant(stock.shipped.id),
    payload: fc.record({ lines: fc.array(line, { maxLength: 3 }) }),
  }),
  fc.record({ type: fc.constant(stock.gone.id), payload: fc.record({ sku }) }),
);
const history = fc.array(payloads, { maxLength: 40, size: 'max' }).map((list) =>
  list.map(({ type, payload }, index): ReadEvent => ({
    id: String(index + 1),
    position: index + 1,
    type,
    payload,
    key: null,
    at: new Date(index * 1_000),
    correlationId: 'c',
    erased: false,
  })),
);

/** Applies the events in batches of the given sizes to rows that are stored as a table stores them. */
function applyInBatches(events: readonly ReadEvent[], sizes: readonly number[]): unknown {
  const table = new Map<string, Values>();
  let at = 0;
  for (let turn = 0; at < events.length; turn += 1) {
    const batch = events.slice(at, at + (sizes[turn % sizes.length] ?? 1));
    at += batch.length;
    if (!isFolding(folded)) throw new Error('levels is folded');
    const keyed = keyBatch(folded, batch);
    for (const { key, state } of foldBatch(folded, keyed, table)) {
      if (state === null) table.delete(rowId(folded, key));
      else table.set(rowId(folded, key), throughTable(state));
    }
  }
  return new Map([...table].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function throughTable(state: Values): Values {
  return Object.fromEntries(
    Object.entries(state).map(([name, value]) => [
      name,
      value instanceof Date ? new Date(value) : (JSON.parse(JSON.stringify(value)) as unknown),
    ]),
  );
}

describe('a fold', () => {
  test('comes to the same rows whatever the batches are', () => {
    fc.assert(
      fc.property(
        history,
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 5 }),
        (events, sizes) => {
          expect(applyInBatches(events, sizes)).toEqual(applyInBatches(events, [1]));
        },
      ),
    );
  });

  test('does not change what it was given', () => {
    fc.assert(
      fc.property(history, (events) => {
        if (!isFolding(folded)) throw new Error('levels is folded');
        const stored = new Map([['["a"]', { count: 1, moves: 1, last: null, places: { x: true } }]]);
        const before = structuredClone(stored);
        foldBatch(folded, keyBatch(folded, events), stored);
        expect(stored).toEqual(before);
      }),
    );
  });
});

describe('a value of a column', () => {
  test('that is accepted comes back from JSON as it was', () => {
    const column = fc.constantFrom('text', 'uuid', 'int', 'bigint', 'double precision', 'boolean', 'jsonb?');
    fc.assert(
      fc.property(column, fc.oneof(fc.jsonValue(), fc.double(), fc.string(), fc.uuid()), (type, value) => {
        fc.pre(valueProblem(type as 'text', value) === undefined);
        const stored = asStored(type as 'text', value);
        // Zero has a sign in JavaScript only.
        expect(JSON.parse(JSON.stringify(stored)) as unknown).toEqual(stored === 0 ? 0 : stored);
      }),
    );
  });
});
