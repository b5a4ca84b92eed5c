import type { Clock } from '../kernel/clock.ts';
import {
  randomVersion,
  type SharedAnswer,
  type SharedAsk,
  type SharedFill,
  type SharedInvalidation,
  type SharedStore,
  type SharedTable,
} from '../cache/shared-store.ts';
import { storedKey } from '../rate-limit/store.ts';
import {
  fillScript,
  invalidateScript,
  readScript,
  releaseScript,
  renewScript,
  serverScript,
} from './cache-scripts.ts';
import { commandsOf, type RedisClient, type RedisCommands } from './client.ts';
import { runScript } from './script.ts';

export interface RedisCacheStoreOptions {
  /** Before every key. Default `plimsoll:cache`. */
  readonly prefix?: string;
  /** How long the position of an invalidation is kept, so that a replica that lags fills nothing. Default an hour. */
  readonly floorMs?: number;
}

export const redisCacheStoreDefaults: Required<RedisCacheStoreOptions> = {
  prefix: 'plimsoll:cache',
  floorMs: 3_600_000,
};

/**
 * Values of `plimsoll/cache` in Redis or Valkey: each question, fill and invalidation is one script and one round trip.
 * In a cluster one cache is on one node. The client stays yours: connect it, listen to its `error` event, close it.
 */
export function redisCacheStore(client: RedisClient, options: RedisCacheStoreOptions = {}): SharedStore {
  const { prefix, floorMs } = { ...redisCacheStoreDefaults, ...options };
  const commands = commandsOf(client);
  return { open: ({ name, clock }) => new RedisTable(commands, `${prefix}:{${name}}:`, floorMs, clock) };
}

/** How often it is looked whether the server is another one. */
const serverMs = 1_000;
/** Slots that one script changes at most; Redis does nothing else meanwhile. */
const mostAtOnce = 500;

class RedisTable implements SharedTable {
  readonly #commands: RedisCommands;
  readonly #prefix: string;
  readonly #floorMs: number;
  readonly #clock: Clock;
  // When the server is to be looked at again.
  #lookAtMs = 0;

  constructor(commands: RedisCommands, prefix: string, floorMs: number, clock: Clock) {
    this.#commands = commands;
    this.#clock = clock;
    this.#prefix = prefix;
    this.#floorMs = floorMs;
  }

  async read({ key, tags, atLeast, keepMs, lease }: SharedAsk): Promise<SharedAnswer> {
    if (this.#clock.monotonicMs() >= this.#lookAtMs) await this.#lookAtServer();
    const { owner, forMs, belowMs } = lease ?? { owner: '', forMs: 0, belowMs: 0 };
    const given = [String(randomVersion()), String(Math.ceil(keepMs)), atLeast, owner];
    given.push(String(Math.ceil(forMs)), String(belowMs));
    const answer = await runScript(this.#commands, readScript, this.#slots(key, tags), given);
    const [versions, floor, leased, data, mark, freshForMs, costMs, failedForMs] = answer as (
      | string
      | number
      | null
    )[];
    return {
      value:
        typeof data === 'string'
          ? { data, mark: String(mark), freshForMs: Number(freshForMs), costMs: Number(costMs) }
          : undefined,
      versions: String(versions).split(','),
      floor: String(floor),
      leased: Number(leased) === 1,
      failedForMs: Number(failedForMs),
    };
  }

  async fill({
    key,
    tags,
    versions,
    data,
    mark,
    freshMs,
    keepMs,
    costMs,
    owner,
  }: SharedFill): Promise<boolean> {
    const times = [freshMs, keepMs, costMs].map((ms) => String(Math.round(ms)));
    const given = [versions.join(','), data, mark, ...times, owner];
    return Number(await runScript(this.#commands, fillScript, this.#slots(key, tags), given)) === 1;
  }

  async invalidate({ keys, tags, everything, floor }: SharedInvalidation): Promise<void> {
    const slots = [
      ...(everything ? [`${this.#prefix}*`] : []),
      ...keys.map((key) => this.#ofKey(key)),
      ...tags.map((tag) => this.#ofTag(tag)),
    ];
    const given = [String(randomVersion()), floor, String(this.#floorMs)];
    for (let from = 0; from < slots.length; from += mostAtOnce)
      await runScript(this.#commands, invalidateScript, slots.slice(from, from + mostAtOnce), given);
  }

  async renew(key: string, owner: string, forMs: number): Promise<boolean> {
    const given = [owner, String(Math.ceil(forMs))];
    return Number(await runScript(this.#commands, renewScript, [this.#ofKey(key)], given)) === 1;
  }

  async release(key: string, owner: string, failedForMs = 0): Promise<void> {
    const given = [owner, String(Math.ceil(failedForMs))];
    await runScript(this.#commands, releaseScript, [this.#ofKey(key)], given);
  }

  async #lookAtServer(): Promise<void> {
    await runScript(this.#commands, serverScript, [`${this.#prefix}*`], [String(randomVersion())]);
    this.#lookAtMs = this.#clock.monotonicMs() + serverMs;
  }

  #slots(key: string, tags: readonly string[]): string[] {
    return [`${this.#prefix}*`, this.#ofKey(key), ...tags.map((tag) => this.#ofTag(tag))];
  }

  #ofKey(key: string): string {
    return `${this.#prefix}k:${storedKey(key)}`;
  }

  #ofTag(tag: string): string {
    return `${this.#prefix}t:${storedKey(tag)}`;
  }
}
