import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { choose, type Load, type Need } from './choose.ts';
import { consistencies, neededBy, needsPosition } from './consistency.ts';
import { reachable, readReplica } from './position.ts';
import { ReplicaState } from './replica-state.ts';

const limits = { lagBudgetMs: 1_000, lagBudgetBytes: 1_000_000, slowStartMs: 0 };

const aPosition = fc.bigInt(0n, 100n);
const aMark = fc.record({ epoch: fc.constantFrom('1.a', '2.b'), written: aPosition, read: aPosition });
const aNeed = fc.record({
  level: fc.constantFrom(...consistencies),
  mark: fc.option(aMark, { nil: undefined }),
  noted: fc.boolean(),
  unknown: fc.boolean(),
  recent: fc.boolean(),
  epoch: fc.option(fc.constantFrom('1.a', '2.b'), { nil: undefined }),
  atMost: fc.option(aPosition, { nil: undefined }),
  maxStalenessMs: fc.option(fc.nat(2_000), { nil: undefined }),
});
const aReplica = fc.record({
  replayed: aPosition,
  follows: fc.boolean(),
  lagMs: fc.nat(2_000),
  asked: fc.boolean(),
  failed: fc.boolean(),
  inFlight: fc.nat(50),
  durationMs: fc.double({ min: 0.1, max: 100, noNaN: true }),
  stalenessMs: fc.nat(2_000),
});

function loadOf(replica: typeof aReplica extends fc.Arbitrary<infer R> ? R : never): Load {
  const state = new ReplicaState(limits);
  const { replayed, follows, lagMs, inFlight, durationMs, stalenessMs } = replica;
  if (replica.asked) state.polled({ replayed, incarnation: 1, follows, lagMs, lagBytes: 0 }, 0);
  if (replica.failed) for (let n = 0; n < 2; n += 1) state.pollFailed();
  return { state, inFlight, durationMs, stalenessMs };
}

describe('where a read goes', () => {
  test('never to a replica below what its reader needs, of another history, out of rotation or tried before', () => {
    fc.assert(
      fc.property(
        aNeed,
        fc.array(aReplica, { maxLength: 5 }),
        fc.array(fc.nat(4), { maxLength: 3 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (need, replicas, tried, random) => {
          const loads = replicas.map(loadOf);
          const choice = choose(need, loads, 0, () => random, new Set(tried));
          if (choice.to === 'primary') return;
          const { state, stalenessMs } = loads[choice.index]!;
          const wanted = neededBy(need.level, need.mark);
          const needed = need.atMost !== undefined && need.atMost < wanted ? need.atMost : wanted;
          expect(need.level).not.toBe('strong');
          expect(tried).not.toContain(choice.index);
          expect(state.follows).toBe(true);
          expect(state.replayed >= needed).toBe(true);
          if (need.maxStalenessMs === undefined) expect(state.out).toBeUndefined();
          else {
            expect(stalenessMs).toBeLessThanOrEqual(need.maxStalenessMs);
            expect([undefined, 'lag']).toContain(state.out);
          }
          if (need.level === 'window') expect(need.recent).toBe(false);
          if (!needsPosition(need.level)) return;
          expect(need.unknown).toBe(false);
          expect(need.mark === undefined || need.mark.epoch === need.epoch).toBe(true);
          if (need.noted) expect(need.epoch).toBeDefined();
        },
      ),
    );
  });

  test('to a replica whenever one can serve it', () => {
    fc.assert(
      fc.property(aNeed, fc.array(aReplica, { minLength: 1, maxLength: 5 }), (need, replicas) => {
        const loads = replicas.map(loadOf);
        const able = loads.some(({ state }) => state.canServe(neededBy(need.level, need.mark)));
        fc.pre(able && need.level !== 'strong' && !need.unknown && !need.recent);
        fc.pre(need.epoch !== undefined && (need.mark === undefined || need.mark.epoch === need.epoch));
        const asked = { ...need, maxStalenessMs: undefined };
        expect(choose(asked, loads, 0, Math.random, new Set()).to).toBe('replica');
      }),
    );
  });

  test('of two, to the one that is less busy and faster', () => {
    const load = (inFlight: number, durationMs: number): Load => ({
      ...loadOf({
        replayed: 1n,
        follows: true,
        lagMs: 0,
        asked: true,
        failed: false,
        inFlight,
        durationMs,
        stalenessMs: 0,
      }),
    });
    const need: Need = {
      level: 'eventual',
      mark: undefined,
      noted: false,
      unknown: false,
      recent: false,
      epoch: '1.a',
    };
    const index = (loads: Load[]): unknown => {
      const choice = choose(need, loads, 0, () => 0, new Set());
      return choice.to === 'replica' ? choice.index : choice.to;
    };
    expect(index([load(9, 1), load(0, 1)])).toBe(1);
    expect(index([load(0, 1), load(9, 1)])).toBe(0);
    expect(index([load(0, 50), load(1, 1)])).toBe(1);
  });

  test('each reason for the primary', () => {
    const well = loadOf({
      replayed: 50n,
      follows: true,
      lagMs: 0,
      asked: true,
      failed: false,
      inFlight: 0,
      durationMs: 1,
      stalenessMs: 0,
    });
    const late = loadOf({
      replayed: 50n,
      follows: true,
      lagMs: 5_000,
      asked: true,
      failed: false,
      inFlight: 0,
      durationMs: 1,
      stalenessMs: 5_000,
    });
    const mark = { epoch: '1.a', written: 60n, read: 0n };
    const need: Need = {
      level: 'session',
      mark,
      noted: true,
      unknown: false,
      recent: false,
      epoch: '1.a',
    };
    const reason = (given: Partial<Need>, loads: Load[] = [well]): string =>
      choose({ ...need, ...given }, loads, 0, Math.random, new Set()).reason;
    expect(reason({ level: 'strong' })).toBe('intent');
    expect(reason({})).toBe('token');
    expect(reason({ unknown: true })).toBe('unknown');
    expect(reason({ epoch: '2.a' })).toBe('epoch');
    expect(reason({ level: 'window', recent: true })).toBe('window');
    expect(reason({ level: 'eventual' }, [late])).toBe('lag');
    expect(reason({ level: 'eventual' }, [])).toBe('no_replica');
    expect(choose({ ...need, level: 'eventual' }, [late], 0, Math.random, new Set())).toMatchObject({
      spare: 0,
    });
    expect(
      choose({ ...need, level: 'eventual', maxStalenessMs: 6_000 }, [late], 0, Math.random, new Set()),
    ).toMatchObject({ to: 'replica' });
  });
});

describe('positions', () => {
  test('a position in the header of a page is brought back to where the last record ended', () => {
    fc.assert(
      fc.property(
        fc.bigInt(1n, 2n ** 45n),
        fc.bigInt(0n, 64n),
        fc.constantFrom(20n, 24n, 30n),
        (page, offset, bits) => {
          const [start, segment] = [page * 8_192n, 1n << bits];
          const header = start % segment === 0n ? 40n : 24n;
          expect(reachable(start + offset, segment)).toBe(offset <= header ? start : start + offset);
        },
      ),
    );
  });

  test('what a standby may have shown is past its position while it has more to replay', () => {
    const row = (replayed: string, received: string | null): unknown => [
      true,
      replayed,
      received,
      '0.000007',
    ];
    expect(readReplica(row('0/10', '0/10'))).toEqual({ replayed: 16n, shown: 16n, incarnation: 7 });
    expect(readReplica(row('0/10', '0/20'))).toEqual({ replayed: 16n, shown: 17n, incarnation: 7 });
    expect(readReplica(row('0/10', null))).toEqual({ replayed: 16n, shown: 16n, incarnation: 7 });
    expect(readReplica([false, '0/10', '0/10', '7'])).toMatchObject({ replayed: undefined });
  });
});
