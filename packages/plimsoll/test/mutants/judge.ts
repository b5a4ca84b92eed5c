import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Mutant } from './edit.ts';
import { runsOf, type Run, type Verdict } from './gate.ts';

const nameOf = ({ schedule, mutant }: Run): string => `${schedule} / ${mutant ?? 'as it is'}`;

export interface Judged {
  /** Runs all of them in a process of its own, and tells each verdict. */
  readonly script: URL;
  readonly mutants: readonly Mutant[];
  readonly schedules: readonly { readonly name: string; readonly hurts: string }[];
}

/** The tests of a gate: no schedule hurts anybody as the library is, and each mutant is caught by those it names. */
export function judge({ script, mutants, schedules }: Judged): void {
  const verdicts = new Map(
    runsOf(mutants, schedules).map((run) => [nameOf(run), Promise.withResolvers<Verdict>()]),
  );
  const given = (run: Run): Promise<Verdict> =>
    verdicts.get(nameOf(run))?.promise ?? Promise.reject(new Error(`${nameOf(run)} is not among the runs`));
  let child: ChildProcess;

  beforeAll(() => {
    child = fork(script, [], {
      execArgv: ['--conditions=plimsoll:source', '--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      serialization: 'advanced',
    });
    let told = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (told += text));
    child.on('message', (verdict: Verdict) => verdicts.get(nameOf(verdict))?.resolve(verdict));
    child.on('close', (code, signal) => {
      for (const { promise, reject } of verdicts.values()) {
        promise.catch(() => undefined);
        reject(new Error(`the process that runs the schedules ended with ${code ?? signal}: ${told}`));
      }
    });
  });
  afterAll(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    // It stops its servers when its work is done; else their guardian does.
    const ended = once(child, 'exit');
    if (child.connected) child.disconnect();
    await ended;
  });

  test('every mutant has a schedule that is to catch it', () => {
    const names = schedules.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
    for (const mutant of mutants) {
      expect(mutant.schedules, mutant.name).not.toEqual([]);
      expect(names, mutant.name).toEqual(expect.arrayContaining([...mutant.schedules]));
    }
  });

  for (const { name: schedule, hurts } of schedules) {
    describe(schedule, () => {
      test(`nobody is hurt (${hurts})`, async () => {
        const verdict = await given({ schedule, mutant: undefined });
        expect(verdict).toMatchObject({ failure: undefined, violations: [] });
        expect(verdict.operations).toBeGreaterThan(1);
      });

      const caught = mutants.filter((mutant) => mutant.schedules.includes(schedule));
      test.each(caught)('catches $name: $does', async ({ name }) => {
        const verdict = await given({ schedule, mutant: name });
        // One that cannot do its work at all is not what was meant, and hurts nobody unseen.
        expect(verdict.failure).toBeUndefined();
        expect(verdict.violations).not.toEqual([]);
      });
    });
  }
}
