import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LagRing } from './lag-ring.ts';
import { pollsToReturn, ReplicaState, type Observation, type Poll } from './replica-state.ts';

const limits = { lagBudgetMs: 1_000, lagBudgetBytes: 1_000_000, slowStartMs: 10_000 };

/** A standby as it really is: restarted now and then, with less replayed than before. */
class Standby {
  incarnation = 1;
  replayed = 0n;
  /** The highest position of each incarnation. */
  readonly reached = new Map<number, bigint>([[1, 0n]]);
  promoted = false;

  replay(bytes: bigint): void {
    this.replayed += bytes;
    this.reached.set(this.incarnation, this.replayed);
  }
  restart(lost: bigint): void {
    this.incarnation += 1;
    this.replayed = this.replayed > lost ? this.replayed - lost : 0n;
    this.reached.set(this.incarnation, this.replayed);
  }
  look(): Observation {
    return { replayed: this.promoted ? undefined : this.replayed, incarnation: this.incarnation };
  }
}

const aStep = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('replay' as const), bytes: fc.bigInt(1n, 500n) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), lost: fc.bigInt(0n, 800n) }) },
  // Looks are taken now and arrive later, in any order.
  { weight: 4, arbitrary: fc.constant({ kind: 'look' as const }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('arrive' as const), which: fc.nat(), read: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'failed' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'refused' as const }) },
);

const good = (observation: Observation): Poll => ({ ...observation, follows: true, lagMs: 0, lagBytes: 0 });

describe('what is known of a replica', () => {
  test('is never more than what the incarnation it is known of has reached', () => {
    fc.assert(
      fc.property(fc.array(aStep, { maxLength: 80 }), (steps) => {
        const standby = new Standby();
        const state = new ReplicaState(limits);
        const looks: Observation[] = [];
        for (const step of steps) {
          if (step.kind === 'replay') standby.replay(step.bytes);
          else if (step.kind === 'restart') standby.restart(step.lost);
          else if (step.kind === 'look') looks.push(standby.look());
          else if (step.kind === 'failed') state.pollFailed();
          else if (step.kind === 'refused') state.refused();
          else {
            const [look] = looks.splice(step.which % Math.max(1, looks.length), 1);
            if (look === undefined) continue;
            if (step.read) state.confirms(state.incarnation, look);
            else state.polled(good(look), 0);
          }
          expect(state.replayed <= (standby.reached.get(state.incarnation) ?? 0n)).toBe(true);
        }
      }),
    );
  });

  test('a read that it let through, and that it confirms, was served by a server that had what was needed', () => {
    fc.assert(
      fc.property(fc.array(aStep, { maxLength: 80 }), fc.bigInt(1n, 3_000n), (steps, need) => {
        const standby = new Standby();
        const state = new ReplicaState(limits);
        for (const step of steps) {
          if (step.kind === 'replay') standby.replay(step.bytes);
          else if (step.kind === 'look') state.polled(good(standby.look()), 0);
          if (!state.canServe(need)) continue;
          const chosen = state.incarnation;
          // Between the choice and the read the server may have been restarted.
          if (step.kind === 'restart') standby.restart(step.lost);
          const shown = standby.look();
          if (state.confirms(chosen, shown)) expect((shown.replayed ?? 0n) >= need).toBe(true);
        }
      }),
    );
  });

  test('a promoted server serves nobody, whatever else is told of it', () => {
    const state = new ReplicaState(limits);
    state.polled(good({ replayed: 10n, incarnation: 1 }), 0);
    expect(state.canServe(5n)).toBe(true);
    expect(state.confirms(1, { replayed: undefined, incarnation: 1 })).toBe(false);
    expect(state.out).toBe('promoted');
    expect(state.canServe(0n)).toBe(false);
  });

  test('leaves at the second failed poll, and returns after three good ones, with a share that grows', () => {
    const state = new ReplicaState(limits);
    const poll = good({ replayed: 10n, incarnation: 1 });
    state.polled(poll, 0);
    expect(state.weight(0)).toBe(1);
    state.pollFailed();
    expect(state.out).toBeUndefined();
    state.pollFailed();
    expect(state.out).toBe('polls');
    for (let n = 1; n < pollsToReturn; n += 1) {
      state.polled(poll, 1_000);
      expect(state.out).toBe('polls');
    }
    state.polled(poll, 1_000);
    expect(state.out).toBeUndefined();
    expect(state.weight(1_000)).toBeCloseTo(0.1);
    expect(state.weight(6_000)).toBeCloseTo(0.55);
    expect(state.weight(11_000)).toBe(1);
  });

  test('leaves when it is late in time or in bytes', () => {
    for (const late of [{ lagMs: 1_001 }, { lagBytes: 1_000_001 }]) {
      const state = new ReplicaState(limits);
      state.polled({ ...good({ replayed: 10n, incarnation: 1 }), ...late }, 0);
      expect(state.out).toBe('lag');
    }
  });

  test('after a change of history it is nobody until it shows the new one', () => {
    const state = new ReplicaState(limits);
    const poll = good({ replayed: 10n, incarnation: 1 });
    state.polled(poll, 0);
    state.historyChanged(false);
    expect(state.canServe(0n)).toBe(false);
    // A zombie goes on with the old one, and ever farther.
    for (let n = 0; n < 5; n += 1) state.polled({ ...poll, replayed: 1_000n, follows: false }, 0);
    expect(state.canServe(0n)).toBe(false);
    for (let n = 0; n < 3; n += 1) state.polled(poll, 0);
    expect(state.canServe(10n)).toBe(true);
  });

  test('what was told before the history was known is asked again, and then counts at once', () => {
    const state = new ReplicaState(limits);
    const poll = good({ replayed: 10n, incarnation: 1 });
    state.polled(poll, 0);
    state.historyChanged(true);
    expect(state.canServe(0n)).toBe(false);
    state.polled({ ...poll, follows: false }, 0);
    expect(state.out).toBe('epoch');
    const other = new ReplicaState(limits);
    other.polled(poll, 0);
    other.historyChanged(true);
    other.polled(poll, 0);
    expect(other.canServe(10n)).toBe(true);
  });

  test('a clock that was set back between two starts does not keep it out for ever', () => {
    const state = new ReplicaState(limits);
    state.polled(good({ replayed: 10n, incarnation: 5 }), 0);
    for (let n = 0; n < 3; n += 1) state.polled(good({ replayed: 7n, incarnation: 4 }), 0);
    expect(state.incarnation).toBe(4);
    expect(state.replayed).toBe(7n);
  });
});

describe('lag without clocks of servers', () => {
  const sightings = fc.array(fc.record({ afterMs: fc.nat(2_000), bytes: fc.bigInt(0n, 1_000n) }), {
    minLength: 1,
    maxLength: 50,
  });

  test('is 0 with the newest position, and never less than the truth without', () => {
    fc.assert(
      fc.property(sightings, fc.nat(), fc.nat(5_000), (list, which, laterMs) => {
        const ring = new LagRing();
        const truth: { atMs: number; position: bigint }[] = [];
        let atMs = 0;
        let position = 1n;
        for (const step of list) {
          atMs += step.afterMs;
          position += step.bytes;
          truth.push({ atMs, position });
          ring.note(atMs, position);
        }
        const nowMs = atMs + laterMs;
        expect(ring.lagMs(position, nowMs)).toBe(0);
        const reached = truth[which % truth.length] ?? { atMs: 0, position: 0n };
        const missing = truth.find((each) => each.position > reached.position);
        if (missing !== undefined)
          expect(ring.lagMs(reached.position, nowMs)).toBeGreaterThanOrEqual(nowMs - missing.atMs);
        const shown = truth.findLast((each) => each.position <= reached.position);
        expect(ring.stalenessMs(reached.position, nowMs)).toBeGreaterThanOrEqual(nowMs - (shown?.atMs ?? 0));
      }),
    );
  });

  test('knows nothing of positions before the first it saw', () => {
    const ring = new LagRing();
    expect(ring.stalenessMs(5n, 0)).toBe(Infinity);
    ring.note(0, 10n);
    expect(ring.stalenessMs(5n, 100)).toBe(Infinity);
    expect(ring.stalenessMs(10n, 100)).toBe(100);
    ring.note(80, 10n);
    expect(ring.stalenessMs(10n, 100)).toBe(20);
  });
});
