import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { stress } from '../testing/stress.ts';
import { createLifecycle, type Lifecycle, type LifecycleState } from './lifecycle.ts';

type Hook = 'start' | 'drain' | 'stop';

/** How one run of a hook goes: after `hops` turns of the microtask queue, or when the scheduler says so. */
interface Run {
  readonly hops: number;
  readonly fails: boolean;
}

interface Entry {
  readonly hook: Hook;
  readonly failed: boolean;
}

class HookFailure extends Error {
  readonly code = 'HOOK_FAILED';
}

/** Hooks that record what they did and notice when two of them run at once. */
class Recorder {
  readonly entries: Entry[] = [];
  readonly problems: string[] = [];
  readonly #next: (hook: Hook) => Run;
  readonly #wait: (hops: number) => Promise<void>;
  #running: Hook | undefined;

  constructor(next: (hook: Hook) => Run, wait: (hops: number) => Promise<void>) {
    this.#next = next;
    this.#wait = wait;
  }

  async run(hook: Hook): Promise<void> {
    if (this.#running !== undefined) this.problems.push(`${hook} began while ${this.#running} was running`);
    this.#running = hook;
    const { hops, fails } = this.#next(hook);
    await this.#wait(hops);
    this.#running = undefined;
    this.entries.push({ hook, failed: fails });
    if (fails) throw new HookFailure(hook);
  }

  lifecycle(): Lifecycle {
    return createLifecycle({
      name: 'recorded',
      start: () => this.run('start'),
      drain: () => this.run('drain'),
      stop: () => this.run('stop'),
    });
  }
}

/** What a sequence of hooks must look like: start, at most one drain, stop, and again. */
function checkSequence(entries: readonly Entry[]): LifecycleState {
  let state: LifecycleState = 'stopped';
  for (const { hook, failed } of entries) {
    switch (hook) {
      case 'start':
        expect(state, 'start comes only after stop').toBe('stopped');
        // A start that failed must be followed by a stop.
        state = failed ? 'stopping' : 'running';
        break;
      case 'drain':
        expect(state, 'drain comes only while it runs, once').toBe('running');
        state = 'draining';
        break;
      case 'stop':
        expect(['running', 'draining', 'stopping'], 'stop comes once after each start').toContain(state);
        state = 'stopped';
        break;
    }
  }
  return state;
}

const calls = fc.array(fc.constantFrom('start', 'drain', 'stop', 'dispose'), {
  minLength: 1,
  maxLength: 14,
});
const runs = fc.array(
  fc.record({
    hops: fc.nat({ max: 6 }),
    fails: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.boolean()),
  }),
  { minLength: 1, maxLength: 20 },
);

function perform(lifecycle: Lifecycle, call: string): Promise<void> {
  if (call === 'start') return lifecycle.start();
  if (call === 'drain') return lifecycle.drain();
  if (call === 'stop') return lifecycle.stop();
  return Promise.resolve(lifecycle[Symbol.asyncDispose]());
}

async function microtasks(count: number): Promise<void> {
  for (let hop = 0; hop < count; hop += 1) await Promise.resolve();
}

test('whatever is called at once, hooks never overlap, alternate, and every call settles', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ call: fc.constantFrom('start', 'drain', 'stop', 'dispose'), gap: fc.nat(4) }), {
        minLength: 1,
        maxLength: 14,
      }),
      runs,
      async (steps, outcomes) => {
        let next = 0;
        const recorder = new Recorder(() => outcomes[next++ % outcomes.length]!, microtasks);
        const lifecycle = recorder.lifecycle();
        const pending: Promise<void>[] = [];
        for (const { call, gap } of steps) {
          const promise = perform(lifecycle, call);
          promise.catch(() => undefined);
          pending.push(promise);
          await microtasks(gap);
        }
        await Promise.allSettled(pending);

        expect(recorder.problems).toEqual([]);
        const state = checkSequence(recorder.entries);
        // A drain that failed is still draining; otherwise the hooks that ran say the state.
        expect(lifecycle.state).toBe(state);
        // After the last stop nothing of it runs, and it can begin again.
        await lifecycle.stop().catch(() => undefined);
        expect(lifecycle.state).toBe('stopped');
        expect(checkSequence(recorder.entries)).toBe('stopped');
        const before = recorder.entries.length;
        await lifecycle.stop();
        await lifecycle.drain();
        expect(recorder.entries).toHaveLength(before);
      },
    ),
    { numRuns: 300 },
  );
});

test('in any order in which its hooks end, a call resolves only in the state it promises', async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), calls, async (scheduler, order) => {
      const recorder = new Recorder(
        () => ({ hops: 0, fails: false }),
        () => scheduler.schedule(Promise.resolve()),
      );
      const lifecycle = recorder.lifecycle();
      const seen: string[] = [];
      const pending = order.map(async (call) => {
        await perform(lifecycle, call);
        seen.push(call);
      });
      await scheduler.waitFor(Promise.all(pending));
      expect(recorder.problems).toEqual([]);
      // Calls are served first come, first served.
      expect(seen).toEqual(order);
      const last = order.findLast((call) => call !== 'drain');
      const expected =
        last === 'start'
          ? order.lastIndexOf('drain') > order.lastIndexOf('start')
            ? 'draining'
            : 'running'
          : 'stopped';
      expect(lifecycle.state).toBe(expected);
    }),
    { numRuns: 200 },
  );
});

test('a start that fails stops what it had begun, leaves it stopped, and a later start succeeds', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(6), fc.boolean(), async (hops, stopFailsToo) => {
      let attempt = 0;
      const recorder = new Recorder((hook) => {
        if (hook === 'start') attempt += 1;
        return { hops, fails: attempt === 1 && (hook === 'start' || stopFailsToo) };
      }, microtasks);
      const lifecycle = recorder.lifecycle();
      // The failure to start is the one reported, even when stopping fails as well.
      await expect(lifecycle.start()).rejects.toThrow('start');
      expect(lifecycle.state).toBe('stopped');
      expect(recorder.entries.map(({ hook }) => hook)).toEqual(['start', 'stop']);
      await lifecycle.start();
      expect(lifecycle.state).toBe('running');
    }),
    { numRuns: 50 },
  );
});

test('a failure without a code is explained with the name of what did not start', async () => {
  const lifecycle = createLifecycle({
    name: 'relay',
    start: () => Promise.reject(new Error('no permission')),
    stop: () => Promise.resolve(),
  });
  await expect(lifecycle.start()).rejects.toMatchObject({
    code: 'PL_LIFECYCLE',
    message: 'relay did not start: no permission',
  });
});

test('a failing drain does not keep it from stopping', async () => {
  let stopped = 0;
  const lifecycle = createLifecycle({
    name: 'stuck',
    start: () => Promise.resolve(),
    drain: () => Promise.reject(new Error('still busy')),
    stop: () => {
      stopped += 1;
      return Promise.resolve();
    },
  });
  await lifecycle.start();
  await expect(lifecycle.stop()).rejects.toThrow('still busy');
  expect(stopped).toBe(1);
  expect(lifecycle.state).toBe('stopped');
});

test('a lifecycle survives stress', async () => {
  const recorder = new Recorder(() => ({ hops: 2, fails: false }), microtasks);
  await stress(recorder.lifecycle());
  expect(recorder.problems).toEqual([]);
  expect(checkSequence(recorder.entries)).toBe('stopped');
});
