import { PlimsollError } from './errors.ts';

export type LifecycleState = 'stopped' | 'starting' | 'running' | 'draining' | 'stopping';

/**
 * The one way in which anything of ours runs in the background.
 *
 * `start`, `drain` and `stop` may be called at any time, in any order and concurrently; they run one after
 * the other, and a call whose work is already done does nothing. A stopped lifecycle can be started again.
 */
export interface Lifecycle extends AsyncDisposable {
  readonly state: LifecycleState;
  /** Rejects when the start hook fails; what it had begun is stopped first. */
  start(): Promise<void>;
  /** Takes no new work and waits for what is under way; stays stoppable. */
  drain(): Promise<void>;
  /** Drains, then ends. Resolves when nothing of it runs any more. */
  stop(): Promise<void>;
}

export interface LifecycleHooks {
  readonly name: string;
  start(): Promise<void>;
  drain?(): Promise<void>;
  stop(): Promise<void>;
}

export function createLifecycle(hooks: LifecycleHooks): Lifecycle {
  let state: LifecycleState = 'stopped';
  // Calls queue on this promise, so hooks never overlap.
  let last: Promise<void> = Promise.resolve();

  function enqueue(step: () => Promise<void>): Promise<void> {
    const next = last.then(step);
    last = next.catch(() => undefined);
    return next;
  }

  async function begin(): Promise<void> {
    if (state === 'running') return;
    if (state === 'draining') await end();
    state = 'starting';
    try {
      await hooks.start();
      state = 'running';
    } catch (error) {
      state = 'stopping';
      try {
        await hooks.stop();
      } catch {
        // The failure to start is the one to report.
      }
      state = 'stopped';
      if (error instanceof Error && 'code' in error) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new PlimsollError('PL_LIFECYCLE', `${hooks.name} did not start: ${reason}`, { cause: error });
    }
  }

  async function quiesce(): Promise<void> {
    if (state !== 'running') return;
    state = 'draining';
    await hooks.drain?.();
  }

  async function end(): Promise<void> {
    if (state === 'stopped') return;
    try {
      await quiesce();
    } finally {
      state = 'stopping';
      try {
        await hooks.stop();
      } finally {
        state = 'stopped';
      }
    }
  }

  return {
    get state() {
      return state;
    },
    start: () => enqueue(begin),
    drain: () => enqueue(quiesce),
    stop: () => enqueue(end),
    [Symbol.asyncDispose]: () => enqueue(end),
  };
}

/** A lifecycle with members of its own; getters stay getters. */
export function extendLifecycle<Extra extends object>(lifecycle: Lifecycle, extra: Extra): Lifecycle & Extra {
  return Object.defineProperties(extra, Object.getOwnPropertyDescriptors(lifecycle)) as Lifecycle & Extra;
}
