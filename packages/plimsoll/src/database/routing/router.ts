import type { Bulkhead } from '../../bulkhead/bulkhead.ts';
import { routes, type RouteReason } from '../../kernel/channels.ts';
import type { Clock } from '../../kernel/clock.ts';
import { currentContext } from '../../kernel/context.ts';
import { PlimsollError, isPlimsollError } from '../../kernel/errors.ts';
import type { Lsn, Seen } from '../../kernel/seen.ts';
import { choose, type Choice, type Load, type Need } from './choose.ts';
import type { Causality } from './causality.ts';
import { needsPosition, type Consistency } from './consistency.ts';
import { RouteCounts } from './counts.ts';
import type { RoutingSettings } from './options.ts';
import type { Watch } from './watch.ts';
import { isRefused, StaleRead, troubleOf } from './trouble.ts';

/** What one read asks of the router. */
export interface RoutedRead {
  readonly level: Consistency;
  readonly seen: Seen | undefined;
  readonly maxStalenessMs?: number | undefined;
  /** Whether it is a transaction of several statements. */
  readonly snapshot?: boolean;
}

/** Of the replica that a read was sent to. */
export interface Chosen {
  readonly index: number;
  readonly incarnation: number;
  /** Of when it was chosen: what it shows belongs to this history. */
  readonly epoch: string | undefined;
  readonly reason: RouteReason;
}

/** Runs the read on one server; what it rejects with decides whether another server is asked. */
export interface Servers<T> {
  readonly onReplica: (chosen: Chosen) => Promise<T>;
  readonly onPrimary: (reason: RouteReason) => Promise<T>;
}

export interface RouterOptions {
  readonly scope: object;
  readonly causality: Causality;
  readonly watch: Watch;
  /** On the primary, for reads that no replica can serve. */
  readonly places: Bulkhead;
  readonly settings: RoutingSettings;
  readonly clock: Clock;
  readonly random: () => number;
}

/** Replicas asked for one read; after them the primary is. */
const mostReplicas = 2;
/** After a wait for nothing, reads ask once and wait no more for this long. */
const impatientMs = 1_000;
const firstPauseMs = 0.5;
const durationShare = 0.2;
/** What a replica was long ago counts half as much after each of these: else one slow read would keep all others away. */
const halfLifeMs = 250;

interface Decision {
  readonly choice: Choice;
  readonly waitedMs: number;
}

/** Sends each read where it may go: a replica that has what its reader has seen, else the primary. */
export class Router {
  readonly counts = new RouteCounts();
  readonly #options: RouterOptions;
  readonly #inFlight: number[];
  readonly #durationsMs: number[];
  /** When each duration was last measured. */
  readonly #measuredAtMs: number[];
  #impatientUntilMs = -Infinity;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.#inFlight = options.watch.states.map(() => 0);
    this.#durationsMs = options.watch.states.map(() => 1);
    this.#measuredAtMs = options.watch.states.map(() => 0);
  }

  async route<T>(read: RoutedRead, servers: Servers<T>): Promise<T> {
    const { watch } = this.#options;
    watch.touch();
    const failed = new Set<number>();
    let onlyPrimary = read.level === 'strong';
    let reason: RouteReason | undefined;
    let waitedMs = 0;
    for (;;) {
      const decision = await this.#decide(read, onlyPrimary, failed);
      const { choice } = decision;
      waitedMs += decision.waitedMs;
      if (choice.to === 'primary') {
        return await this.#onPrimary(read, servers, choice, reason ?? choice.reason, waitedMs);
      }
      const why = reason ?? (read.snapshot === true ? 'tx' : choice.reason);
      const chosen: Chosen = {
        index: choice.index,
        incarnation: watch.states[choice.index]?.incarnation ?? 0,
        epoch: this.#options.causality.epoch?.text,
        reason: why,
      };
      const tell = (): void => this.#tell('replica', `replica-${choice.index + 1}`, why, read, waitedMs);
      try {
        const answer = await this.#timed(chosen.index, () => servers.onReplica(chosen));
        tell();
        return answer;
      } catch (error) {
        const trouble = troubleOf(error);
        if (trouble === 'own') {
          tell();
          throw error;
        }
        failed.add(choice.index);
        this.#suspect(choice.index, error);
        reason = trouble === 'primary' ? 'lag' : 'conflict';
        onlyPrimary = trouble === 'primary' || failed.size >= mostReplicas;
      }
    }
  }

  async #decide(read: RoutedRead, onlyPrimary: boolean, failed: ReadonlySet<number>): Promise<Decision> {
    const { causality, clock, watch, settings } = this.#options;
    const { level, seen } = read;
    if (onlyPrimary) {
      return { choice: { to: 'primary', reason: 'intent', later: false, need: 0n }, waitedMs: 0 };
    }
    const startedMs = clock.monotonicMs();
    const noted = seen !== undefined && needsPosition(level);
    let asked = false;
    if (noted && causality.owes(seen)) {
      asked = true;
      // Without an answer the primary is asked for the read itself, and tells why it cannot.
      await causality.settle(seen, () => watch.samplePrimary()).catch(() => undefined);
    }
    let atMost: Lsn | undefined;
    let choice = this.#choose(read, noted, atMost, failed);
    for (let pauseMs = firstPauseMs; choice.to === 'primary' && choice.later; pauseMs *= 2) {
      const nowMs = clock.monotonicMs();
      const leftMs = settings.waitMs - (nowMs - startedMs);
      // More than the primary is known to have: it has gone on, or the token is not of this world.
      const unheardOf = choice.need > watch.inserted && atMost === undefined;
      if (leftMs <= 0 || !(unheardOf || this.#mayHelp(choice, leftMs, failed))) break;
      if (asked && nowMs < this.#impatientUntilMs) break;
      asked = true;
      const inserted = await this.#refresh(choice, leftMs, pauseMs, unheardOf || choice.reason === 'epoch');
      atMost ??= inserted;
      choice = this.#choose(read, noted, atMost, failed);
      if (choice.to === 'primary' && clock.monotonicMs() - startedMs >= settings.waitMs)
        this.#impatientUntilMs = clock.monotonicMs() + impatientMs;
    }
    return { choice, waitedMs: asked ? clock.monotonicMs() - startedMs : 0 };
  }

  #choose(read: RoutedRead, noted: boolean, atMost: Lsn | undefined, failed: ReadonlySet<number>): Choice {
    const { causality, clock, watch, random } = this.#options;
    watch.syncEpoch();
    const nowMs = clock.monotonicMs();
    const seen = noted ? read.seen : undefined;
    const need: Need = {
      level: read.level,
      mark: seen?.mark(causality.name),
      noted,
      unknown: seen !== undefined && (seen.isUnknown(causality.name) || causality.owes(seen)),
      recent: read.level === 'window' && this.#wroteLately(read.seen),
      epoch: causality.epoch?.text,
      atMost,
      maxStalenessMs: read.maxStalenessMs,
    };
    const loads = watch.states.map((state, index): Load => {
      const stale = read.maxStalenessMs === undefined ? 0 : watch.ring.stalenessMs(state.replayed, nowMs);
      return {
        state,
        inFlight: this.#inFlight[index] ?? 0,
        durationMs: this.#durationMs(index, nowMs),
        stalenessMs: stale,
      };
    });
    return choose(need, loads, nowMs, random, failed);
  }

  /** A time that is still to come is of a process whose clock is ahead, and counts as now. */
  #wroteLately(seen: Seen | undefined): boolean {
    const { causality, clock, settings } = this.#options;
    const atMs = seen?.wroteAtMs(causality.name);
    return atMs !== undefined && clock.now() - atMs < settings.windowMs;
  }

  /** Whether asking again may show a replica that can serve the read in time. */
  #mayHelp(choice: Choice, leftMs: number, failed: ReadonlySet<number>): boolean {
    const { watch, clock } = this.#options;
    if (choice.reason === 'epoch') return true;
    const nowMs = clock.monotonicMs();
    return watch.states.some((state, index) => {
      if (failed.has(index)) return false;
      if (state.out === 'never asked') return true;
      if (state.out !== undefined) return false;
      const lagMs = watch.ring.lagMs(state.replayed, nowMs);
      return lagMs - watch.ring.ageMs(choice.need, nowMs) <= leftMs;
    });
  }

  /** Answers what the primary has written, where it was asked and has answered in time. */
  async #refresh(
    choice: Choice,
    leftMs: number,
    pauseMs: number,
    primaryToo: boolean,
  ): Promise<Lsn | undefined> {
    const { watch, clock } = this.#options;
    const enough = new AbortController();
    let inserted: Lsn | undefined;
    const sampling = primaryToo
      ? watch.samplePrimary().then(
          (sampled) => {
            inserted = sampled?.position.inserted;
          },
          () => undefined,
        )
      : undefined;
    const startedMs = clock.monotonicMs();
    await Promise.race([Promise.all([sampling, watch.refreshAll()]), clock.sleep(leftMs, enough.signal)]);
    enough.abort();
    const restMs = leftMs - (clock.monotonicMs() - startedMs);
    if (this.#choiceStands(choice) && restMs > 0) await clock.sleep(Math.min(pauseMs, restMs));
    return inserted;
  }

  /** Whether no replica has reached what is needed yet, so that asking again at once would be of no use. */
  #choiceStands({ need }: Choice): boolean {
    return this.#options.watch.states.every((state) => !state.canServe(need));
  }

  async #timed<T>(index: number, run: () => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    this.#inFlight[index] = (this.#inFlight[index] ?? 0) + 1;
    try {
      return await run();
    } finally {
      this.#inFlight[index] = (this.#inFlight[index] ?? 1) - 1;
      const nowMs = clock.monotonicMs();
      const before = this.#durationMs(index, nowMs);
      this.#durationsMs[index] = before + (nowMs - startedMs - before) * durationShare;
      this.#measuredAtMs[index] = nowMs;
    }
  }

  #durationMs(index: number, nowMs: number): number {
    const age = nowMs - (this.#measuredAtMs[index] ?? 0);
    return Math.max(0.01, (this.#durationsMs[index] ?? 1) * 2 ** (-age / halfLifeMs));
  }

  /** The next poll tells whether the server is gone or only the one connection was. */
  #suspect(index: number, error: unknown): void {
    const { watch } = this.#options;
    if (error instanceof StaleRead || !isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE')) return;
    const state = watch.states[index];
    if (isRefused(error)) state?.refused();
    else state?.pollFailed();
    void watch.refresh(index);
  }

  async #onPrimary<T>(
    read: RoutedRead,
    servers: Servers<T>,
    choice: Choice & { to: 'primary' },
    reason: RouteReason,
    waitedMs: number,
  ): Promise<T> {
    const { places, clock } = this.#options;
    const run = (): Promise<T> => {
      this.#tell('primary', 'primary-reads', reason, read, waitedMs);
      return servers.onPrimary(reason);
    };
    if (reason === 'intent') return await run();
    const startedMs = clock.monotonicMs();
    let begun = false;
    let waits = false;
    try {
      const running = places.run(() => {
        begun = true;
        if (waits) waitedMs += clock.monotonicMs() - startedMs;
        return run();
      });
      waits = !begun;
      return await running;
    } catch (error) {
      if (begun) throw error;
      const late = choice.spare;
      if (late === undefined || !isPlimsollError(error, 'PL_BULKHEAD_FULL')) {
        this.#tell('refused', 'primary-reads', 'budget', read, waitedMs);
        throw error;
      }
      this.#tell('replica', `replica-${late + 1}`, 'budget', read, waitedMs);
      const incarnation = this.#options.watch.states[late]?.incarnation ?? 0;
      return await this.#timed(late, () =>
        servers.onReplica({ index: late, incarnation, epoch: undefined, reason: 'budget' }),
      );
    }
  }

  #tell(
    role: 'replica' | 'primary' | 'refused',
    server: string,
    reason: RouteReason,
    read: RoutedRead,
    waitedMs: number,
  ): void {
    this.counts.add(role, reason, waitedMs);
    if (!routes.hasSubscribers) return;
    const { scope } = this.#options;
    const operation = currentContext()?.operation;
    routes.publish({ scope, role, server, reason, consistency: read.level, waitedMs, operation });
  }
}

/** An answer from a primary that another one has replaced, or from a standby. */
export function notThePrimary(server: string): PlimsollError {
  return new PlimsollError(
    'PL_DATABASE_UNAVAILABLE',
    `${server}: the server is no primary, or one that was replaced; nothing it shows is current`,
    { data: { server } },
  );
}
