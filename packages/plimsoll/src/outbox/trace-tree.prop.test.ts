import fc from 'fast-check';
import { expect, test } from 'vitest';
import { traceTree, type TraceFact, type TraceNode } from './trace-tree.ts';

const fact = (id: string, cause: string, at: string | null = null): TraceFact => ({
  id,
  cause,
  kind: id.split(':')[0]!,
  name: id,
  state: 'done',
  at,
  data: {},
});
const flat = (nodes: readonly TraceNode[]): TraceNode[] =>
  nodes.flatMap((node) => [node, ...flat(node.effects)]);

/** A history: each fact is caused by the request or by one before it; some of them have left no row. */
const history = fc
  .array(fc.record({ kind: fc.constantFrom('event', 'job'), cause: fc.nat(), left: fc.boolean() }), {
    maxLength: 30,
    size: 'max',
  })
  .map((entries) => {
    const ids: string[] = [];
    const all = entries.map(({ kind, cause, left }, index) => {
      const above = ids.length === 0 || cause % 5 === 0 ? 'request:r' : ids[cause % ids.length]!;
      const id = `${kind}:${index}`;
      ids.push(id);
      return { fact: fact(id, above, `2026-01-01T00:00:${String(index).padStart(2, '0')}Z`), left };
    });
    return {
      all: all.map((each) => each.fact),
      left: all.filter((each) => each.left).map((each) => each.fact),
    };
  });

test('each fact is there once, under its cause, later effects after earlier ones', () => {
  fc.assert(
    fc.property(history, ({ left }) => {
      const nodes = flat(traceTree(left, () => 'request:r'));
      const ids = nodes.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      for (const { id, cause } of left) {
        expect(ids).toContain(id);
        const above = nodes.find((node) => node.id === cause)!;
        expect(above.effects.map((node) => node.id)).toContain(id);
      }
      for (const { effects } of nodes) {
        const times = effects.map(({ at }) => at ?? '');
        expect(times).toEqual(times.toSorted());
      }
    }),
  );
});

test('the order in which the facts were found does not matter', () => {
  fc.assert(
    fc.property(history, ({ all }) => {
      expect(traceTree(all.toReversed(), () => 'request:r')).toEqual(traceTree(all, () => 'request:r'));
    }),
  );
});

test('what left no row is put in by what its id tells', () => {
  const [root] = traceTree(
    [fact('event:2', 'event:1/mail.greet/4'), fact('event:3', 'job:abc')],
    () => 'request:r',
  );
  expect(root).toMatchObject({
    id: 'request:r',
    effects: [
      {
        id: 'event:1',
        effects: [
          {
            id: 'event:1/mail.greet/4',
            kind: 'delivery',
            name: 'mail.greet',
            data: { replay: 4 },
            effects: [{ id: 'event:2' }],
          },
        ],
      },
      { id: 'job:abc', kind: 'job', name: 'abc', effects: [{ id: 'event:3' }] },
    ],
  });
});

test('nothing gives nothing', () => expect(traceTree([], () => 'request:r')).toEqual([]));
