import { createHash } from 'node:crypto';
import { background, seenStores } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { contextWatch, createContextWatch, type ContextWatch } from '../kernel/context-watch.ts';
import type { Caller } from '../kernel/context.ts';
import { Seen } from '../kernel/seen.ts';
import type { SeenStore } from './seen-store.ts';

/** How many calls in a row fail before others no longer wait for the store. */
const failuresToDown = 3;
/** How often one call asks a store that is away. */
const probeMs = 500;

export interface SharedSeenOptions {
  readonly scope: object;
  readonly store: SeenStore;
  readonly ttlMs: number;
  readonly timeoutMs: number;
  readonly clock?: Clock;
}

/** What was known of each database, to tell what a request has added. */
export type Facts = ReadonlyMap<string, { readonly marked: string; readonly unknowns: number }>;

export const noFacts: Facts = new Map();

/** One request's part in what its user has seen. */
export interface SharedVisit {
  readonly id: string;
  readonly before: Facts;
  /** Whether the store has answered all that it was asked: then nothing has to travel with the client. */
  isSure: boolean;
}

/** The store of what users have seen, as requests use it: no call waits longer than the time limit, and none rejects. */
export class SharedSeen {
  readonly #options: SharedSeenOptions;
  readonly #clock: Clock;
  readonly #watch: ContextWatch;
  // Calls in a row that the store did not answer.
  #failures = 0;
  // While it is away: when it is asked again.
  #probeAtMs = 0;

  constructor(options: SharedSeenOptions) {
    const { clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#watch = clock === systemClock ? contextWatch : createContextWatch(clock);
  }

  /** Takes in what the user has seen. Without an answer only the primary is sure to show it. */
  async load(id: string, seen: Seen): Promise<SharedVisit> {
    const held = await this.#ask('read', (store) => store.read(id));
    if (held === undefined) seen.noteUnsure();
    else for (const name of held.databases) take(held, name, seen);
    return { id, before: factsOf(seen), isSure: held !== undefined };
  }

  /** A visit of somebody who is known only now, such as after a login: all that the request has added is his. */
  visit(id: string, before: Facts): SharedVisit {
    return { id, before, isSure: true };
  }

  /** Whether the request has added anything to what was known. */
  hasNews(seen: Seen, { before }: SharedVisit): boolean {
    for (const [name, facts] of factsOf(seen)) if (isNew(facts, before.get(name))) return true;
    return false;
  }

  /** Leaves what the request has added, and asks nothing where that is nothing. */
  async save(seen: Seen, visit: SharedVisit): Promise<void> {
    const news = new Seen();
    for (const [name, facts] of factsOf(seen)) {
      const known = visit.before.get(name);
      if (!isNew(facts, known)) continue;
      const mark = seen.mark(name);
      if (mark !== undefined && (mark.written > 0n || mark.read > 0n))
        news.merge(name, mark, seen.touchedTags(name), seen.hasDroppedTags(name));
      const wroteAtMs = seen.wroteAtMs(name);
      if (wroteAtMs !== undefined) news.noteWroteAt(name, wroteAtMs);
      // Told again with each request, it would last for ever.
      if (seen.mayHaveWritten(name) && facts.unknowns > (known?.unknowns ?? 0)) news.noteUnknown(name);
    }
    if (news.isEmpty) return;
    const { ttlMs } = this.#options;
    const saved = await this.#ask('merge', async (store) => {
      await store.merge(visit.id, news, ttlMs);
      return true;
    });
    if (saved !== true) visit.isSure = false;
  }

  /** Undefined when there is no answer in time. */
  #ask<T>(call: 'read' | 'merge', ask: (store: SeenStore) => Promise<T>): Promise<T | undefined> {
    const { store, timeoutMs } = this.#options;
    const askedMs = this.#clock.monotonicMs();
    if (this.#failures >= failuresToDown) {
      if (askedMs < this.#probeAtMs) {
        this.#tell(call, 'skipped', askedMs);
        return Promise.resolve(undefined);
      }
      this.#probeAtMs = askedMs + probeMs;
    }
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    let waits = true;
    const fail = (error: unknown): void => {
      if (!waits) return;
      waits = false;
      unwatch();
      this.#failed(error);
      this.#tell(call, 'failed', askedMs);
      resolve(undefined);
    };
    const unwatch = this.#watch.watchDeadline(askedMs + timeoutMs, () =>
      fail(new Error(`no answer within ${timeoutMs} ms`)),
    );
    // In a function: a store may throw before it gives a promise.
    const asking = (async () => ask(store))();
    asking.then((answer) => {
      if (!waits) return;
      waits = false;
      unwatch();
      this.#failures = 0;
      this.#tell(call, 'ok', askedMs);
      resolve(answer);
    }, fail);
    return promise;
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    if (this.#failures !== failuresToDown) return;
    this.#probeAtMs = this.#clock.monotonicMs() + probeMs;
    background.publish({
      scope: this.#options.scope,
      what: 'the store of what clients have seen: away',
      error,
    });
  }

  #tell(call: 'read' | 'merge', outcome: 'ok' | 'failed' | 'skipped', askedMs: number): void {
    if (!seenStores.hasSubscribers) return;
    const durationMs = this.#clock.monotonicMs() - askedMs;
    seenStores.publish({ scope: this.#options.scope, call, outcome, durationMs });
  }
}

/** That an outcome is unknown is no deed of this request: it is not told on. */
function take(held: Seen, name: string, seen: Seen): void {
  const mark = held.mark(name);
  if (mark !== undefined && (mark.written > 0n || mark.read > 0n))
    seen.merge(name, mark, held.touchedTags(name), held.hasDroppedTags(name));
  if (held.isUnknown(name)) seen.noteUnsure(name);
  const wroteAtMs = held.wroteAtMs(name);
  // By a clock that is ahead it was not before now.
  if (wroteAtMs !== undefined) seen.noteWroteAt(name, Math.min(wroteAtMs, Date.now()));
}

export function factsOf(seen: Seen): Facts {
  const facts = new Map<string, { marked: string; unknowns: number }>();
  for (const name of seen.databases) {
    const { epoch, written, read } = seen.mark(name) ?? {};
    const tags = seen.touchedTags(name).map(({ tag, written: at }) => `${at} ${tag}`);
    const dropped = seen.hasDroppedTags(name);
    const marked = JSON.stringify([
      epoch,
      String(written),
      String(read),
      dropped,
      tags,
      seen.wroteAtMs(name),
    ]);
    facts.set(name, { marked, unknowns: seen.unknowns(name) });
  }
  return facts;
}

const isNew = (
  now: { readonly marked: string; readonly unknowns: number },
  before: { readonly marked: string; readonly unknowns: number } | undefined,
): boolean => before === undefined || now.marked !== before.marked || now.unknowns > before.unknowns;

/** Under what an id is kept: ids of sessions are secrets, and may be of any length. */
export function seenIdOf(kind: 'id' | 'caller', ...parts: readonly (string | undefined)[]): string {
  return createHash('sha256')
    .update(JSON.stringify([kind, ...parts]))
    .digest('base64url');
}

/** Undefined for somebody unknown. */
export function seenIdOfCaller(caller: Caller | undefined): string | undefined {
  return caller?.principal === undefined ? undefined : seenIdOf('caller', caller.tenant, caller.principal);
}
