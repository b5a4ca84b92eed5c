import { PlimsollError } from '../kernel/errors.ts';
import type { Clock } from '../kernel/clock.ts';
import {
  nextVersion,
  randomVersion,
  type SharedAnswer,
  type SharedAsk,
  type SharedFill,
  type SharedInvalidation,
  type SharedStore,
  type SharedTable,
} from '../cache/shared-store.ts';
import { laterMark, noMark } from '../cache/position.ts';
import { storedKey } from '../rate-limit/store.ts';
import { SocketClient, type MemcachedClient } from './client.ts';
import type { Answer, Command, Connection } from './connection.ts';
import { leaseItem, leaseOf, secondsOf, slotItem, slotOf, valueItem, valueOf, type Slot } from './items.ts';

export interface MemcachedCacheStoreOptions {
  /** Before every key; 1 to 80 printable characters without spaces. Default `plimsoll:cache`. */
  readonly prefix?: string;
  /** How long the position of an invalidation is kept, so that a replica that lags fills nothing. Default an hour. */
  readonly floorMs?: number;
}

export const memcachedCacheStoreDefaults: Required<MemcachedCacheStoreOptions> = {
  prefix: 'plimsoll:cache',
  floorMs: 3_600_000,
};

/** How often a change is tried again that another process has come before. */
const mostTries = 50;
/** Slots that are changed together, at most. */
const mostAtOnce = 500;

/**
 * Values of `plimsoll/cache` in one Memcached, 1.6 or later. A hit is one round trip; a miss, a fill and an invalidation
 * two. Throws PL_CONFIG when the client is not one of `createMemcachedClient`.
 *
 * Memcached changes one item at a time, so the fence is in the reading: each slot (everything, a key, a tag) is an item
 * with its version, a value carries the versions that its load began with, and it is answered only when the versions
 * that are read together with it are those. See `docs/decisions/012-fences-in-memcached.md` for the proof.
 */
export function memcachedCacheStore(
  client: MemcachedClient,
  options: MemcachedCacheStoreOptions = {},
): SharedStore {
  const { prefix, floorMs } = { ...memcachedCacheStoreDefaults, ...options };
  if (!(client instanceof SocketClient))
    throw new PlimsollError('PL_CONFIG', 'memcachedCacheStore: give it what createMemcachedClient has made');
  if (!/^[\x21-\x7e]{1,80}$/.test(prefix))
    throw new PlimsollError(
      'PL_CONFIG',
      `memcachedCacheStore: prefix is ${JSON.stringify(prefix)}; give 1 to 80 printable characters without spaces`,
    );
  return {
    open: ({ name, clock }) => new MemcachedTable(client, `${prefix}:${storedKey(name)}:`, floorMs, clock),
  };
}

class MemcachedTable implements SharedTable {
  readonly #client: SocketClient;
  readonly #prefix: string;
  readonly #floorMs: number;
  readonly #clock: Clock;

  constructor(client: SocketClient, prefix: string, floorMs: number, clock: Clock) {
    this.#client = client;
    this.#prefix = prefix;
    this.#floorMs = floorMs;
    this.#clock = clock;
  }

  async read({ key, tags, atLeast, keepMs, lease }: SharedAsk): Promise<SharedAnswer> {
    const connection = await this.#client.connection();
    const names = this.#slots(key, tags);
    const items = [this.#item('v', key), ...(lease === undefined ? [] : [this.#item('l', key)]), ...names];
    const answers = [...(await ask(connection, items.map(get)))];
    const nowMs = this.#clock.now();
    const kept = valueOf(answers.shift(), nowMs);
    const heldItem = lease === undefined ? undefined : answers.shift();
    const slots = await this.#made(connection, names, answers, keepMs);
    const versions = slots.map(({ version }) => version);
    const joined = versions.join(',');
    const isValid =
      kept !== undefined && kept.versions === joined && kept.mark >= atLeast && kept.keptForMs > 0;
    const freshForMs = isValid ? kept.freshForMs : -Infinity;
    const wanted = secondsOf(keepMs * 1.5);
    const after: Command[] = names
      .filter((_, at) => (slots[at]?.leftS ?? 0) < (wanted * 2) / 3)
      .map((name) => ({ line: `mg ${name} T${wanted}` }));
    let [leased, failedForMs] = [false, 0];
    if (lease !== undefined && freshForMs <= lease.belowMs) {
      const held = leaseOf(heldItem, nowMs);
      if (held === undefined || held.leftMs <= 0 || held.versions !== joined) {
        // Of many who find it free, one changes what he has read.
        const item = leaseItem(lease.owner, joined, lease.forMs, nowMs);
        const [answer] = await ask(connection, [set(this.#item('l', key), item, casOf(heldItem)), ...after]);
        leased = answer?.code === 'HD';
        after.length = 0;
      } else if (held.owner === '') failedForMs = held.leftMs;
    }
    await ask(connection, after);
    return {
      value: isValid
        ? { data: kept.data, mark: kept.mark, costMs: kept.costMs, freshForMs: kept.freshForMs }
        : undefined,
      versions,
      floor: slots.reduce((floor, slot) => laterMark(floor, slot.floor), noMark),
      leased,
      failedForMs,
    };
  }

  async fill(fill: SharedFill): Promise<boolean> {
    const { key, tags, versions, data, mark, freshMs, keepMs, costMs, owner } = fill;
    const connection = await this.#client.connection();
    const [value, lease] = [this.#item('v', key), this.#item('l', key)];
    const questions = [{ line: `mg ${value} c` }, get(lease), ...this.#slots(key, tags).map(get)];
    for (let n = 0; n < mostTries; n += 1) {
      // The id of the value before the versions: who fills after them has changed it.
      const [former, held, ...slots] = await ask(connection, questions);
      const ends = leaseOf(held, 0)?.owner === owner ? [{ line: `md ${lease} C${casOf(held)}` }] : [];
      if (slots.map((slot) => slotOf(slot)?.version ?? '').join(',') !== versions.join(',')) {
        await ask(connection, ends);
        return false;
      }
      const nowMs = this.#clock.now();
      const item = valueItem({ versions: versions.join(','), mark, freshMs, keepMs, costMs, data }, nowMs);
      const [stored] = await ask(connection, [set(value, item, casOf(former)), ...ends], isTooLarge);
      // One that is too large for an item is kept nowhere, and nothing was invalidated.
      if (stored?.code === 'HD' || stored?.code === 'SERVER_ERROR') return true;
    }
    throw new Error(`${value} of Memcached was changed by others ${mostTries} times in a row`);
  }

  async invalidate({ keys, tags, everything, floor }: SharedInvalidation): Promise<void> {
    const connection = await this.#client.connection();
    const slots = [
      ...(everything ? [this.#item('*', '')] : []),
      ...keys.map((key) => this.#item('k', key)),
      ...tags.map((tag) => this.#item('t', tag)),
    ];
    for (let from = 0; from < slots.length; from += mostAtOnce)
      await this.#raise(connection, slots.slice(from, from + mostAtOnce), floor);
  }

  async renew(key: string, owner: string, forMs: number): Promise<boolean> {
    return await this.#changeLease(key, owner, (item, versions, cas) =>
      set(item, leaseItem(owner, versions, forMs, this.#clock.now()), cas),
    );
  }

  async release(key: string, owner: string, failedForMs = 0): Promise<void> {
    await this.#changeLease(key, owner, (item, versions, cas) =>
      failedForMs > 0
        ? set(item, leaseItem('', versions, failedForMs, this.#clock.now()), cas)
        : { line: `md ${item} C${cas}` },
    );
  }

  async #changeLease(
    key: string,
    owner: string,
    change: (item: string, versions: string, cas: string) => Command,
  ): Promise<boolean> {
    const connection = await this.#client.connection();
    const item = this.#item('l', key);
    const [answer] = await ask(connection, [get(item)]);
    const held = leaseOf(answer, 0);
    const cas = casOf(answer);
    if (held?.owner !== owner || cas === undefined) return false;
    const [changed] = await ask(connection, [change(item, held.versions, cas)]);
    return changed?.code === 'HD';
  }

  /** Those that are there, and those that are made now, at random, by whoever comes first. */
  async #made(
    connection: Connection,
    names: readonly string[],
    answers: readonly Answer[],
    keepMs: number,
  ): Promise<readonly Slot[]> {
    const found = answers.map((answer) => slotOf(answer));
    const missing = names.filter((_, at) => found[at] === undefined);
    if (missing.length === 0) return found as readonly Slot[];
    const leftS = secondsOf(keepMs * 1.5);
    const made = missing.map(() => ({ version: String(randomVersion()), floor: noMark, leftS }));
    const added = await ask(connection, [
      ...missing.map((name, at) => set(name, slotItem(made[at] as Slot), undefined)),
      ...missing.map(get),
    ]);
    // What is gone again already is nobody's: a fill with it is refused.
    const now = missing.map((_, at) => slotOf(added[missing.length + at]) ?? (made[at] as Slot));
    return found.map((slot) => slot ?? (now.shift() as Slot));
  }

  /** Adds one to each version. One that is not there was lost: nothing that was filled with it is answered. */
  async #raise(connection: Connection, slots: readonly string[], floor: string): Promise<void> {
    let left = slots;
    for (let n = 0; left.length > 0; n += 1) {
      if (n === mostTries)
        throw new Error(`${left[0]} of Memcached was changed by others ${n} times in a row`);
      const answers = await ask(connection, left.map(get));
      const tried: { readonly name: string; readonly change: Command }[] = [];
      for (const [at, name] of left.entries()) {
        const slot = slotOf(answers[at]);
        if (slot === undefined && floor === noMark) continue;
        const version = slot === undefined ? String(randomVersion()) : nextVersion(slot.version);
        const leftS = Math.max(slot?.leftS ?? 1, floor === noMark ? 1 : secondsOf(this.#floorMs));
        const item = slotItem({ version, floor: laterMark(slot?.floor ?? noMark, floor), leftS });
        tried.push({ name, change: set(name, item, casOf(answers[at])) });
      }
      const changed = await ask(
        connection,
        tried.map(({ change }) => change),
        (answer) => answer.code === 'SERVER_ERROR',
      );
      const outcome = (code: string): readonly string[] =>
        tried.filter((_, at) => changed[at]?.code === code).map(({ name }) => name);
      // A server that is full takes no writes; a version that is deleted ends what was filled with it too.
      await ask(
        connection,
        outcome('SERVER_ERROR').map((name) => ({ line: `md ${name}` })),
      );
      left = [...outcome('EX'), ...outcome('NF'), ...outcome('NS')];
    }
  }

  #slots(key: string, tags: readonly string[]): readonly string[] {
    return [this.#item('*', ''), this.#item('k', key), ...tags.map((tag) => this.#item('t', tag))];
  }

  /** `*`, `k` and `t` are slots; `v` the value of a key and `l` its lease. */
  #item(kind: '*' | 'k' | 't' | 'v' | 'l', name: string): string {
    return `${this.#prefix}${kind}${storedKey(name)}`;
  }
}

const get = (item: string): Command => ({ line: `mg ${item} v c t` });

/** Only if it is still the one of this id; without one, only if there is none. */
function set(
  item: string,
  { data, seconds }: { readonly data: string; readonly seconds: number },
  cas: string | undefined,
): Command {
  const bytes = Buffer.from(data);
  const condition = cas === undefined ? 'ME' : `C${cas}`;
  return { line: `ms ${item} ${bytes.length} T${seconds} ${condition}`, data: bytes };
}

const casOf = (answer: Answer | undefined): string | undefined => answer?.flags['c'];

const isTooLarge = ({ code, data }: Answer): boolean => code === 'SERVER_ERROR' && data.includes('too large');

/** Rejects at an error of the server, unless it is expected. */
async function ask(
  connection: Connection,
  commands: readonly Command[],
  isExpected: (answer: Answer) => boolean = () => false,
): Promise<readonly Answer[]> {
  const answers = await connection.send(commands);
  for (const [at, answer] of answers.entries()) {
    if (!answer.code.endsWith('ERROR') || isExpected(answer)) continue;
    const command = commands[at]?.line.slice(0, 100);
    const hint = answer.code === 'ERROR' ? '; its meta commands need version 1.6' : '';
    throw new Error(`Memcached answered ${answer.code} ${answer.data} to ${JSON.stringify(command)}${hint}`);
  }
  return answers;
}
