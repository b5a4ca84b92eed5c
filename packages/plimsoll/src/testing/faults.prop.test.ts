import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createFaults, faultDefaults, underFaults, type Fault, type FaultKind } from './faults.ts';

const kinds = Object.keys(faultDefaults.rates) as FaultKind[];
const ending: readonly FaultKind[] = kinds.filter((kind) => kind !== 'delayed');
const often = Object.fromEntries(kinds.map((kind) => [kind, 0.5]));
const seed = fc.nat();

/** One run that asks for every kind at two places. */
function run(
  faults: ReturnType<typeof createFaults>,
  operation: string,
  key: string,
  triesLeft?: number,
): void {
  const begun = faults.begin(operation, {
    key,
    correlationId: key,
    ...(triesLeft === undefined ? {} : { triesLeft }),
  });
  for (const kind of kinds) for (const place of [1, 2]) begun.hits(kind, place, `place ${place}`);
}
const of = (happened: readonly Fault[], operation: string): readonly Fault[] =>
  happened.filter((fault) => fault.operation === operation);

test('what an operation meets depends on the seed and its own runs, not on what runs beside it', () => {
  fc.assert(
    fc.property(seed, fc.array(fc.constantFrom('a', 'b'), { maxLength: 40 }), (given, order) => {
      const [mixed, alone] = [createFaults({ seed: given }), createFaults({ seed: given })];
      for (const [index, operation] of order.entries()) run(mixed, operation, `${index}`);
      for (const [index, operation] of order.entries()) if (operation === 'a') run(alone, 'a', `${index}`);
      expect(of(mixed.happened, 'a')).toEqual(alone.happened);
    }),
  );
});

test('other seeds, other faults', () => {
  const lists = Array.from({ length: 20 }, (_, given) => {
    const faults = createFaults({ seed: given });
    for (let index = 0; index < 10; index += 1) run(faults, 'a', `${index}`);
    return JSON.stringify(faults.happened);
  });
  expect(new Set(lists).size).toBe(lists.length);
});

test('faults end: one for a run, three for a piece of work with its calls, maxFaults for an operation', () => {
  fc.assert(
    fc.property(
      seed,
      fc.nat(5),
      fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('1', '1/a.1', '2', '3', '4')), {
        maxLength: 60,
      }),
      (given, maxFaults, order) => {
        const faults = createFaults({ seed: given, maxFaults, rates: often });
        for (const [operation, key] of order) run(faults, operation, key);
        const failing = faults.happened.filter(({ kind }) => ending.includes(kind));
        const runs = failing.map((fault) => `${fault.operation} ${fault.run}`);
        expect(new Set(runs).size).toBe(runs.length);
        for (const operation of ['a', 'b'])
          expect(of(failing, operation).length).toBeLessThanOrEqual(maxFaults);
        expect(faults.met('1') + faults.met('1/a.1')).toBeLessThanOrEqual(3);
        expect(['1', '1/a.1', '2', '3', '4'].reduce((sum, key) => sum + faults.met(key), 0)).toBe(
          failing.length,
        );
      },
    ),
  );
});

test('the last attempt of a piece of work meets none, and neither do its calls', () => {
  fc.assert(
    fc.property(seed, (given) => {
      const faults = createFaults({ seed: given, rates: { ...often, delayed: 0 } });
      run(faults, 'a', '1', 0);
      run(faults, 'b', '1/b.1');
      expect(faults.happened).toEqual([]);
    }),
  );
});

test('rates are what happens: never at 0, always at 1, and about as often between', () => {
  fc.assert(
    fc.property(seed, (given) => {
      const never = createFaults({ seed: given, rates: { 'taken-over': 0 } });
      const always = createFaults({ seed: given, rates: { 'taken-over': 1 } });
      const half = createFaults({ seed: given, rates: { delayed: 0.5 } });
      for (let index = 0; index < 200; index += 1) {
        const key = `${index}`;
        for (const faults of [never, half]) run(faults, 'a', key);
        if (index < 5) run(always, 'a', key);
      }
      expect(never.happened).toEqual([]);
      expect(always.happened.map((fault) => fault.kind)).toEqual(Array(5).fill('taken-over'));
      // 400 places; six standard deviations from the mean.
      expect(Math.abs(half.happened.length - 200)).toBeLessThan(60);
    }),
    { numRuns: 20 },
  );
});

test('runs take one seed after the other and end with the first failure, whose seed repeats it', async () => {
  const seeds: number[] = [];
  const body = (faults: { readonly seed: number }): Promise<void> => {
    seeds.push(faults.seed);
    return faults.seed === 12 ? Promise.reject(new Error('twice')) : Promise.resolve();
  };
  await expect(underFaults({ seed: 10, runs: 5 }, body)).rejects.toMatchObject({
    message: expect.stringMatching(/^twice\n\nunder faults; to repeat: \{ seed: 12 \}/) as string,
    cause: { message: 'twice' },
  });
  expect(seeds).toEqual([10, 11, 12]);
  seeds.length = 0;
  await underFaults({ runs: 2 }, body);
  expect(seeds[1]).toBe((seeds[0] ?? 0) + 1);
});

test('every option that is not valid is told at once', async () => {
  const options = { seed: -1, runs: 0, maxFaults: 0.5, rates: { delayed: 2, late: 1 } };
  await expect(underFaults(options as object, () => Promise.resolve())).rejects.toMatchObject({
    code: 'PL_CONFIG',
    data: {
      problems: [
        { path: 'seed' },
        { path: 'maxFaults' },
        { path: 'runs' },
        { path: 'rates.delayed' },
        { path: 'rates.late' },
      ],
    },
  });
});
