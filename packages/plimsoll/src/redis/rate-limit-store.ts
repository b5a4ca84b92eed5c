import { periodMs, type StoreRule } from '../rate-limit/rules.ts';
import {
  storedKey,
  type CountersOptions,
  type Decision,
  type Level,
  type RateCounters,
  type RateLimitStore,
} from '../rate-limit/store.ts';
import { commandsOf, type RedisClient, type RedisCommands } from './client.ts';
import { takeScript, takeSha } from './rate-limit-script.ts';

export interface RedisRateLimitStoreOptions {
  /** Before every key. Default `plimsoll:rate-limit`. */
  readonly prefix?: string;
}

export const redisRateLimitStoreDefaults: Required<RedisRateLimitStoreOptions> = {
  prefix: 'plimsoll:rate-limit',
};

/**
 * Counters in Redis or Valkey: one script, one round trip, the server's clock. The client stays yours: connect it,
 * listen to its `error` event, close it.
 */
export function redisRateLimitStore(
  client: RedisClient,
  options: RedisRateLimitStoreOptions = {},
): RateLimitStore {
  const { prefix } = { ...redisRateLimitStoreDefaults, ...options };
  const commands = commandsOf(client);
  return { shared: true, open: (opening) => new RedisCounters(commands, prefix, opening) };
}

/** Calls that one command decides at most; Redis does nothing else meanwhile. */
const mostAtOnce = 64;

/** A call that waits for its answer. */
interface Asked {
  readonly keys: readonly string[];
  readonly given: readonly string[];
  readonly read: (answer: readonly number[], from: number) => Decision;
  readonly resolve: (decision: Decision) => void;
  readonly reject: (error: unknown) => void;
}

class RedisCounters implements RateCounters {
  readonly #commands: RedisCommands;
  readonly #rules: readonly StoreRule[];
  readonly #prefixes: readonly string[];
  readonly #given: readonly (readonly [string, string, string])[];
  // Calls of this turn of the event loop, sent together at its end: a command costs more than a decision.
  #asked: Asked[] = [];

  constructor(commands: RedisCommands, prefix: string, { name, rules }: CountersOptions) {
    this.#commands = commands;
    this.#rules = rules;
    // A script needs all its keys on one node of a cluster; the counters of a limit with one rule spread over all.
    const limit = rules.length > 1 ? `${prefix}:{${name}}` : `${prefix}:${name}`;
    this.#prefixes = rules.map(
      (rule) => `${limit}:${rule.name}:${rule.kind === 'quota' ? rule.per : 'rate'}:`,
    );
    this.#given = rules.map((rule) => [rule.kind, String(stepOf(rule)), String(rule.capacity)]);
  }

  take(keys: readonly (string | undefined)[], cost: number): Decision | Promise<Decision> {
    this.#assertReady();
    const stored: string[] = [];
    const given: string[] = [];
    // By rule; the caller's list may change before the answer is there.
    const asks: boolean[] = [];
    for (let index = 0; index < keys.length; index += 1) {
      const key = keys[index];
      asks.push(key !== undefined);
      if (key === undefined) continue;
      stored.push(`${this.#prefixes[index]}${storedKey(key)}`);
      given.push(...(this.#given[index] as readonly string[]));
    }
    if (stored.length === 0) return { allowed: true, levels: [] };
    const { promise, resolve, reject } = Promise.withResolvers<Decision>();
    if (this.#asked.length === 0) setImmediate(() => this.#send());
    this.#asked.push({
      keys: stored,
      given: [String(stored.length), String(cost), ...given],
      read: (answer, from) => this.#read(asks, answer, from),
      resolve,
      reject,
    });
    return promise;
  }

  async reset(keys: readonly (string | undefined)[]): Promise<void> {
    this.#assertReady();
    const stored = keys.flatMap((key, index) =>
      key === undefined ? [] : [`${this.#prefixes[index]}${storedKey(key)}`],
    );
    // One by one, as they may be on several nodes.
    await Promise.all(stored.map((key) => this.#commands.unlink(key)));
  }

  #send(): void {
    const asked = this.#asked;
    this.#asked = [];
    // In a cluster the keys of two calls may be on two nodes.
    const atOnce = this.#commands.cluster && this.#rules.length === 1 ? 1 : mostAtOnce;
    for (let from = 0; from < asked.length; from += atOnce) this.#sendOne(asked.slice(from, from + atOnce));
  }

  #sendOne(asked: readonly Asked[]): void {
    const keys = asked.flatMap((each) => each.keys);
    const given = asked.flatMap((each) => each.given);
    this.#commands
      .evalSha(takeSha, keys, given)
      .catch((error: unknown) => {
        // A server that was restarted, flushed or failed over to knows no script.
        if (error instanceof Error && error.message.startsWith('NOSCRIPT'))
          return this.#commands.eval(takeScript, keys, given);
        throw error;
      })
      .then(
        (answer) => {
          let from = 0;
          for (const each of asked) {
            each.resolve(each.read(answer as readonly number[], from));
            from += 1 + 2 * each.keys.length;
          }
        },
        (error: unknown) => {
          for (const each of asked) each.reject(error);
        },
      );
  }

  #read(asks: readonly boolean[], answer: readonly number[], from: number): Decision {
    const levels: (Level | undefined)[] = [];
    let at = from + 1;
    for (let index = 0; index < asks.length; index += 1) {
      const rule = this.#rules[index];
      if (asks[index] !== true || rule === undefined) {
        levels.push(undefined);
        continue;
      }
      const thousandths = Number(answer[at]);
      const resetMs = Number(answer[at + 1]) / 1e6;
      at += 2;
      levels.push({ used: rule.kind === 'rate' ? resetMs / rule.intervalMs : thousandths / 1_000, resetMs });
    }
    return { allowed: Number(answer[from]) === 1, levels };
  }

  #assertReady(): void {
    if (!this.#commands.ready()) throw new Error('the Redis client is not connected');
  }
}

/** What the script knows a rule by. */
function stepOf(rule: StoreRule): number {
  if (rule.kind === 'rate') return rule.intervalMs;
  return rule.per === 'month' ? 0 : periodMs[rule.per];
}
