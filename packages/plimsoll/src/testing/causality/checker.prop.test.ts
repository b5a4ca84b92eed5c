import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkHistory } from './check-history.ts';
import { CausalityChecker } from './checker.ts';
import {
  describeViolation,
  guarantees,
  type Guarantee,
  type Loss,
  type Operation,
  type ReadOperation,
  type Version,
  type WriteOperation,
} from './history.ts';

interface Point {
  readonly version: number;
  readonly history: number;
}
type Placed = Operation & { readonly began: number; readonly ended: number };

const session = fc.constantFrom('s1', 's2', 's3');
const key = fc.constantFrom('a', 'b');
const version = fc.integer({ min: 0, max: 6 });
const history = fc.integer({ min: 1, max: 3 });
const anOperation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record(
      {
        kind: fc.constant('read' as const),
        session,
        key,
        version,
        history,
        dependsOn: fc.record({ key, version, history }),
        level: fc.constantFrom('session' as const, 'session' as const, 'ryw' as const, 'eventual' as const),
      },
      { requiredKeys: ['kind', 'session', 'key', 'version', 'history'] },
    ),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      session,
      key,
      version: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined, freq: 6 }),
      history,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('hand-over' as const), session, to: session }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('loss' as const),
      history: fc.constantFrom(2, 3),
      survivors: fc.record({ a: version, b: version }, { requiredKeys: [] }),
    }),
  },
);

/** Operations that overlap in every way: each has two moments of its own. */
const aHistory: fc.Arbitrary<readonly Placed[]> = fc
  .array(anOperation, { maxLength: 24, size: 'max' })
  .chain((operations) =>
    fc
      .shuffledSubarray(
        Array.from({ length: 2 * operations.length }, (_, at) => at),
        { minLength: 2 * operations.length },
      )
      .map((moments) =>
        operations.map((operation, index) => {
          const [one = 0, other = 0] = moments.slice(2 * index, 2 * index + 2);
          return { ...operation, began: Math.min(one, other), ended: Math.max(one, other) } as Placed;
        }),
      ),
  );

/** Everything that a session knew at a moment, by looking at everything that had happened. */
function known(
  all: readonly Placed[],
  name: string,
  at: number,
): readonly (ReadOperation | WriteOperation)[] {
  return all.flatMap((operation) => {
    if (operation.ended >= at) return [];
    if (operation.kind === 'hand-over')
      return operation.to === name ? known(all, operation.session, operation.began) : [];
    return operation.kind !== 'loss' && operation.session === name ? [operation] : [];
  });
}

/** As it is defined, one operation against all others. */
function naive(all: readonly Placed[]): string[] {
  return all.flatMap((operation) => {
    if (operation.kind !== 'read' && operation.kind !== 'write') return [];
    const { session: name, key: row, began, ended, version: got, history: gotHistory = 0 } = operation;
    if (got === undefined) return [];
    const losses = all
      .filter((each): each is Placed & Loss => each.kind === 'loss' && each.ended < ended)
      .toSorted((one, other) => one.history - other.history || one.ended - other.ended);
    const isLostBy = (loss: Loss, of: Point): boolean =>
      loss.history > of.history && of.version > (loss.survivors[row] ?? 0);
    const left = (of: Point): number => {
      const loss = losses.find((each) => isLostBy(each, of));
      return loss === undefined
        ? of.version
        : left({ version: loss.survivors[row] ?? 0, history: loss.history });
    };
    const me = { version: got, history: gotHistory };
    const before = known(all, name, began);
    const points = (each: readonly (Version | undefined)[]): Point[] =>
      each.flatMap((one) => (one === undefined ? [] : [{ version: one.version, history: one.history ?? 0 }]));
    const committed = before.flatMap((each) =>
      each.kind === 'write' && each.version !== undefined ? [{ ...each, version: each.version }] : [],
    );
    const readBefore = before.filter(
      (each): each is ReadOperation => each.kind === 'read' && (each.level ?? 'session') === 'session',
    );
    const written = points(committed.filter((each) => each.key === row));
    const read = points(readBefore.filter((each) => each.key === row));
    const followed = points(
      readBefore.map(({ dependsOn }) => (dependsOn?.key === row ? dependsOn : undefined)),
    );
    const broken: Guarantee[] = [];
    if (operation.kind === 'write') {
      if ([...written, ...read].some((floor) => left(floor) >= got)) broken.push('monotonic-writes');
    } else {
      const level = operation.level ?? 'session';
      const breaks = (floors: readonly Point[]): boolean =>
        floors.some(
          (floor) =>
            got < left(floor) || losses.some((loss) => loss.history <= floor.history && isLostBy(loss, me)),
        );
      if (level !== 'eventual' && breaks(written)) broken.push('read-your-writes');
      if (level === 'session') {
        if (breaks(read)) broken.push('monotonic-reads');
        if (breaks(followed)) broken.push('writes-follow-reads');
        const seen = Math.max(...points([...committed, ...readBefore]).map((each) => each.history));
        if (losses.some((loss) => loss.history <= seen && isLostBy(loss, me))) broken.push('one-history');
      }
    }
    return broken.map((guarantee) => `${guarantee} ${name} ${row} ${began}`);
  });
}

describe('a history', () => {
  test('has the violations that its definition says, whatever overlaps and whatever was lost', () => {
    const met = new Set<Guarantee>();
    fc.assert(
      fc.property(aHistory, (all) => {
        const found = checkHistory(all);
        for (const { guarantee } of found) met.add(guarantee);
        expect(
          found
            .map(({ guarantee, session: name, key: row, began }) => `${guarantee} ${name} ${row} ${began}`)
            .toSorted(),
        ).toEqual(naive(all).toSorted());
      }),
      { numRuns: 2_000 },
    );
    expect([...met].toSorted()).toEqual([...guarantees].toSorted());
  });

  test('of one primary that everybody reads has none', () => {
    const step = fc.record({ session, key, write: fc.boolean(), to: fc.option(session, { freq: 4 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const rows = new Map<string, { version: number; dependsOn?: { key: string; version: number } }>();
        const lastRead = new Map<string, { key: string; version: number }>();
        const all = steps.map(({ session: name, key: row, write, to }): Operation => {
          if (to !== null) return { kind: 'hand-over', session: name, to };
          const stored = rows.get(row) ?? { version: 0 };
          if (!write) {
            lastRead.set(name, { key: row, version: stored.version });
            return { kind: 'read', session: name, key: row, ...stored };
          }
          const dependsOn = lastRead.get(name);
          rows.set(row, { version: stored.version + 1, ...(dependsOn && { dependsOn }) });
          return { kind: 'write', session: name, key: row, version: stored.version + 1 };
        });
        expect(checkHistory(all)).toEqual([]);
      }),
    );
  });
});

describe('a violation', () => {
  test('says who, what, at least what, what came instead, where and when, and what went before', () => {
    const found = checkHistory([
      { kind: 'write', session: 'ada', key: 'k', version: 4, where: 'primary' },
      { kind: 'read', session: 'ada', key: 'k', version: 3, where: 'replica-2' },
    ]);
    expect(found.map(describeViolation)).toEqual([
      [
        'read-your-writes: session ada, key k: expected at least version 4, got version 3 (from 2 to 3, replica-2)',
        '    before: 1: wrote k, version 4, primary',
      ].join('\n'),
    ]);
  });

  test('of a dependency: who has seen what was written after a read sees what was read', () => {
    const read = { kind: 'read', session: 'bob' } as const;
    const message = { ...read, key: 'answer', version: 1, dependsOn: { key: 'question', version: 2 } };
    expect(checkHistory([message, { ...read, key: 'question', version: 2 }])).toEqual([]);
    expect(checkHistory([message, { ...read, key: 'question', version: 1 }])).toMatchObject([
      { guarantee: 'writes-follow-reads', key: 'question', expected: { version: 2 }, got: { version: 1 } },
    ]);
  });

  test('is none when the outcome of the write is unknown, either way', () => {
    const write = { kind: 'write', session: 'ada', key: 'k' } as const;
    for (const version of [1, 2])
      expect(
        checkHistory([
          { ...write, version: 1 },
          { ...write, version: undefined },
          { kind: 'read', session: 'ada', key: 'k', version },
        ]),
      ).toEqual([]);
  });

  test('is none for what a promotion has lost, until the session has seen the new history', () => {
    const ada = { session: 'ada', key: 'k' };
    const lost = [
      { kind: 'write', ...ada, version: 7, history: 1 },
      { kind: 'loss', history: 2, survivors: { k: 5 } },
    ] as const;
    expect(checkHistory([...lost, { kind: 'read', ...ada, version: 5, history: 1 }])).toEqual([]);
    expect(checkHistory([...lost, { kind: 'read', ...ada, version: 4, history: 1 }])).toMatchObject([
      { guarantee: 'read-your-writes', expected: { version: 5 } },
    ]);
    // By number alone the lost row would do.
    const after = { kind: 'read', ...ada, version: 7, history: 1 } as const;
    const found = checkHistory([...lost, { kind: 'write', ...ada, version: 6, history: 2 }, after]);
    expect(found.map(({ guarantee }) => guarantee)).toEqual(['read-your-writes', 'one-history']);
  });

  test('beyond those that are kept is counted, and forgotten sessions take no memory', () => {
    const checker = new CausalityChecker({ keptViolations: 2, rememberedOperations: 3 });
    for (let at = 0; at < 10; at += 1) {
      checker.endWrite(checker.begin('ada', 'k', at), { at, version: at + 1 });
      checker.endRead(checker.begin('ada', 'k', at), { at, version: 0 });
    }
    expect(checker.violations).toHaveLength(2);
    expect(checker.violations[1]?.before).toHaveLength(3);
    expect(checker.violationsByGuarantee).toEqual({ 'read-your-writes': 10 });
    expect(checker.violationCount).toBe(10);
    checker.forget('ada');
    checker.endRead(checker.begin('ada', 'k', 11), { at: 12, version: 0 });
    expect(checker.violationCount).toBe(10);
  });

  test('that ended before it began is refused', () => {
    const read = { kind: 'read', session: 'ada', key: 'k', version: 1 } as const;
    expect(() => checkHistory([{ ...read, began: 2, ended: 1 }])).toThrow(/operation 0 .* ended at 1/);
  });
});
