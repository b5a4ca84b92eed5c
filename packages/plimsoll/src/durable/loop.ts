import { background } from '../kernel/channels.ts';
import { createLifecycle, extendLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import { createSignal } from './signal.ts';

export interface Loop extends Lifecycle {
  /** Look now rather than at the next poll. */
  readonly wake: () => void;
}

export interface LoopOptions {
  readonly name: string;
  readonly scope: object;
  /** Longest time between two rounds when nobody wakes it. */
  readonly pollMs: number;
  /** One round; `true` means there is more to do at once, a number that there will be in so many milliseconds. */
  readonly round: () => Promise<boolean | number>;
  readonly onStart?: () => Promise<void>;
  readonly onDrain?: () => Promise<void>;
  readonly onStop?: () => Promise<void>;
}

/** After a failed round wait this long, so that a database that is down is not hammered. */
const afterFailureMs = 500;

/** A background loop: rounds one after the other, woken or by poll, surviving failures and reporting them. */
export function createLoop(options: LoopOptions): Loop {
  const signal = createSignal();
  let looping = false;
  let finished: Promise<void> = Promise.resolve();

  async function run(): Promise<void> {
    while (looping) {
      let waitMs = options.pollMs;
      try {
        const more = await options.round();
        if (more === true) continue;
        if (typeof more === 'number') waitMs = Math.min(waitMs, Math.max(more, 1));
      } catch (error) {
        background.publish({ scope: options.scope, what: options.name, error });
        waitMs = Math.max(afterFailureMs, options.pollMs);
      }
      if (looping) await signal.wait(waitMs);
    }
  }

  async function endLoop(): Promise<void> {
    looping = false;
    signal.notify();
    await finished;
  }

  const lifecycle = createLifecycle({
    name: options.name,
    async start() {
      await options.onStart?.();
      looping = true;
      finished = run();
    },
    async drain() {
      await endLoop();
      await options.onDrain?.();
    },
    async stop() {
      await endLoop();
      await options.onStop?.();
    },
  });
  return extendLifecycle(lifecycle, { wake: signal.notify });
}
