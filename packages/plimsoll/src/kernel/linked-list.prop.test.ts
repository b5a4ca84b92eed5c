import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { LinkedList, type Link } from './linked-list.ts';

test('holds what was added and not removed, in order, whatever is removed twice or while it is read', () => {
  const step = fc.oneof(
    fc.constant({ kind: 'add' as const }),
    fc.record({ kind: fc.constant('remove' as const), at: fc.nat(50) }),
    fc.record({ kind: fc.constant('sweep' as const), every: fc.integer({ min: 1, max: 4 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const list = new LinkedList<number>();
      const links: Link<number>[] = [];
      let model: number[] = [];
      for (const given of steps) {
        if (given.kind === 'add') {
          model.push(links.length);
          links.push(list.add(links.length));
        } else if (given.kind === 'remove') {
          // Also links that are out already.
          const link = links[given.at % Math.max(1, links.length)];
          if (link === undefined) continue;
          list.remove(link);
          model = model.filter((item) => item !== link.item);
        } else {
          const seen: number[] = [];
          for (const item of list) {
            seen.push(item);
            if (item % given.every === 0) list.remove(links[item]!);
          }
          expect(seen).toEqual(model);
          model = model.filter((item) => item % given.every !== 0);
        }
        expect([...list]).toEqual(model);
        expect(list.first?.item).toBe(model[0]);
      }
      for (const link of links)
        if (!model.includes(link.item)) expect([link.previous, link.next]).toEqual([undefined, undefined]);
    }),
  );
});
