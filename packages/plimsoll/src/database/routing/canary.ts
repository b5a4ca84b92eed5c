import { background } from '../../kernel/channels.ts';
import { Seen } from '../../kernel/seen.ts';
import { sql } from '../sql.ts';
import type { Queryable } from '../statements.ts';
import { quietSleep } from './quiet-sleep.ts';
import type { CanaryState } from './routing.ts';

export interface CanaryOptions {
  readonly scope: object;
  readonly everyMs: number;
  /** A transaction whose commit is noted in the token. */
  readonly write: <T>(fn: (tx: Queryable) => Promise<T>, seen: Seen) => Promise<T>;
  /** A routed read of the token's bearer. */
  readonly read: (seen: Seen) => Queryable;
}

const beat = sql`update plimsoll.heartbeat set beat = beat + 1 returning beat`;
const look = sql`select beat from plimsoll.heartbeat`;

/** Writes a heartbeat and reads it back at once, as a client of its own would: the count of violations must stay 0. */
export class Canary {
  readonly #options: CanaryOptions;
  #state: CanaryState = { beats: 0, violations: 0, failures: 0 };
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;

  constructor(options: CanaryOptions) {
    this.#options = options;
    this.#ended = this.#run();
  }

  get state(): CanaryState {
    return this.#state;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { everyMs, scope } = this.#options;
    const { signal } = this.#stop;
    await quietSleep(everyMs, signal);
    while (!signal.aborted) {
      try {
        await this.#once();
      } catch (error) {
        this.#state = { ...this.#state, failures: this.#state.failures + 1 };
        background.publish({ scope, what: 'canary of replica routing', error });
      }
      await quietSleep(everyMs, signal);
    }
  }

  async #once(): Promise<void> {
    const { write, read, scope } = this.#options;
    const seen = new Seen();
    const written = await write((tx) => tx.one<{ beat: number }>(beat), seen);
    const shown = await read(seen).one<{ beat: number }>(look);
    const violated = shown.beat < written.beat;
    const { beats, violations } = this.#state;
    this.#state = { ...this.#state, beats: beats + 1, violations: violations + (violated ? 1 : 0) };
    if (!violated) return;
    const error = new Error(`a read after heartbeat ${written.beat} showed ${shown.beat}`);
    background.publish({
      scope,
      what: 'canary of replica routing: a read did not show the write before it',
      error,
    });
  }
}
