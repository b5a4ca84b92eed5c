import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { refusals } from '../kernel/channels.ts';
import { throwIfProblems } from '../kernel/errors.ts';
import { limitDefaults } from '../limit/options.ts';
import { createLimit, type Limit, type LimitState, type Permit } from '../limit/limit.ts';
import { ClientShares } from './client-shares.ts';
import { createLoopPressure, type LoopPressure } from './loop-pressure.ts';
import { shedProblems, shedSettings, type Priority, type ShedOptions, type ShedSettings } from './options.ts';
import { refusalsFor, type Refusal, type RefusalReason } from './refusal.ts';

/** The request may go on. Say once how it ended; what is said later does nothing. */
export interface Admission extends Permit {
  readonly admitted: true;
}

export interface ShedderState {
  readonly name: string;
  /** Chance with which an interactive request is refused for the event loop's sake. */
  readonly loopPressure: number;
  /** Share of requests refused in the last seconds, from 0 to 1. */
  readonly rejectionRate: number;
  readonly admitted: number;
  readonly refused: number;
  /** Why the last refused request was refused. */
  readonly reason: RefusalReason | undefined;
  /** The adaptive limit of each class of routes. */
  readonly classes: readonly LimitState[];
}

export interface Shedder {
  readonly name: string;
  /** Whether a request may go on. Call it before anything else is done for the request. */
  admit(request: IncomingMessage): Admission | Refusal;
  state(): ShedderState;
}

/** Throws PL_CONFIG for options that cannot be. */
export function createShedder(options: ShedOptions): Shedder {
  throwIfProblems(`the shedder ${options.name}`, shedProblems(options));
  return new TwoSignalShedder(options);
}

/** Part of the limit that a priority may fill; `internal` may go beyond it. */
const limitShares: Readonly<Record<Priority, number>> = { internal: 1.3, interactive: 1, batch: 0.7 };
/** The pressure of the event loop as each priority feels it: `batch` is refused by half of it. */
const felt: Readonly<Record<Priority, (pressure: number) => number>> = {
  internal: (pressure) => Math.max(0, 2 * pressure - 1),
  interactive: (pressure) => pressure,
  batch: (pressure) => Math.min(1, 2 * pressure),
};
/** A client may have so many times what is free: alone four fifths of the limit, never all of it. */
const clientFactor = 4;
/** By how much a client's share of the recent requests raises its chance to be refused. */
const clientWeight = 16;
const maxClasses = 64;
const otherClass = '(other)';
const generationMs = 2_000;

class TwoSignalShedder implements Shedder {
  readonly name: string;
  readonly #options: ShedOptions;
  readonly #settings: ShedSettings;
  readonly #loop: LoopPressure;
  readonly #limits = new Map<string, Limit>();
  readonly #clients: ClientShares;
  readonly #refusals: Readonly<Record<RefusalReason, readonly Refusal[]>>;
  #admitted = 0;
  #refused = 0;
  #reason: RefusalReason | undefined;
  // Requests of this generation and of the one before.
  #generationAtMs = -Infinity;
  #asked = 0;
  #denied = 0;
  #askedBefore = 0;
  #deniedBefore = 0;

  constructor(options: ShedOptions) {
    this.name = options.name;
    this.#options = options;
    this.#settings = shedSettings(options);
    const { clock, random, loopDelayMs, maxRetryAfterSeconds } = this.#settings;
    const now = (): number => clock.monotonicMs();
    this.#loop = options.loop ?? createLoopPressure({ delayMs: loopDelayMs, now });
    this.#clients = new ClientShares(random);
    this.#refusals = {
      'event loop': refusalsFor('event loop', maxRetryAfterSeconds),
      limit: refusalsFor('limit', maxRetryAfterSeconds),
      'client share': refusalsFor('client share', maxRetryAfterSeconds),
    };
    // So that wrong options of the limit are told now and not with the first request.
    this.#limitOf(options.routeClass === undefined ? 'all' : otherClass);
  }

  admit(request: IncomingMessage): Admission | Refusal {
    if (this.#settings.bypass(request)) return bypassed;
    const nowMs = this.#settings.clock.monotonicMs();
    this.#countAsked(nowMs);
    const { priority, client, routeClass } = this.#options;
    const rank = priority === undefined ? 'interactive' : priority(request);
    const key = client === undefined ? undefined : client(request);
    const place = key === undefined ? undefined : this.#clients.place(key);
    if (this.#isBehind(nowMs, rank, place, isFirstOf(request.socket))) return this.#refuse('event loop');
    const limit = this.#limitOf(routeClass === undefined ? 'all' : routeClass(request));
    const share = limitShares[rank];
    const permit = limit.tryAcquire(
      place === undefined ? share : share - this.#clients.underWay(place) / (clientFactor * limit.limit),
    );
    if (permit === undefined)
      return this.#refuse(limit.inFlight < share * limit.limit ? 'client share' : 'limit');
    this.#admitted += 1;
    if (place === undefined) return new Admitted(permit);
    this.#clients.begin(place, nowMs);
    return new AdmittedClient(permit, this.#clients, place);
  }

  state(): ShedderState {
    const nowMs = this.#settings.clock.monotonicMs();
    this.#turn(nowMs);
    return {
      name: this.name,
      loopPressure: this.#loop.pressure(nowMs),
      rejectionRate: this.#rejectionRate(),
      admitted: this.#admitted,
      refused: this.#refused,
      reason: this.#reason,
      classes: [...this.#limits.values()].map((limit) => limit.state()),
    };
  }

  /** By chance, so that a little more pressure refuses a few more, and not all at once. */
  #isBehind(nowMs: number, rank: Priority, place: number | undefined, isFirst: boolean): boolean {
    const chance = felt[rank](this.#loop.pressure(nowMs, isFirst));
    if (chance <= 0) return false;
    const { random } = this.#settings;
    if (place === undefined) return random() < chance;
    const weight = 1 + clientWeight * this.#clients.recentShare(place, nowMs);
    return random() >= (1 - chance) ** weight;
  }

  #limitOf(routeClass: string): Limit {
    const known = this.#limits.get(routeClass);
    if (known !== undefined) return known;
    if (routeClass !== otherClass && this.#limits.size >= maxClasses) return this.#limitOf(otherClass);
    const { clock, random, limit: limitOptions } = this.#settings;
    const targetMs = this.#options.targetMs?.(routeClass);
    const target =
      targetMs === undefined ? {} : { targetMs, initialLimit: firstLimit(targetMs, limitOptions) };
    const limit = createLimit({ ...target, ...limitOptions, name: routeClass, clock, random });
    this.#limits.set(routeClass, limit);
    return limit;
  }

  #refuse(reason: RefusalReason): Refusal {
    this.#refused += 1;
    this.#denied += 1;
    this.#reason = reason;
    if (refusals.hasSubscribers)
      refusals.publish({ scope: this.#options.scope ?? this, policy: 'shed', name: this.name, reason });
    // Never the same for all: those who were refused together must not come back together.
    const { maxRetryAfterSeconds, random } = this.#settings;
    const meanSeconds = 1 + (maxRetryAfterSeconds - 1) * this.#rejectionRate();
    const seconds = Math.floor(meanSeconds - 0.5 + 1.5 * random());
    const index = Math.max(1, Math.min(maxRetryAfterSeconds, seconds)) - 1;
    return this.#refusals[reason][index] as Refusal;
  }

  #countAsked(nowMs: number): void {
    this.#turn(nowMs);
    this.#asked += 1;
  }

  #turn(nowMs: number): void {
    const agedMs = nowMs - this.#generationAtMs;
    if (agedMs < generationMs) return;
    const stale = agedMs >= 2 * generationMs;
    this.#askedBefore = stale ? 0 : this.#asked;
    this.#deniedBefore = stale ? 0 : this.#denied;
    this.#asked = 0;
    this.#denied = 0;
    this.#generationAtMs = nowMs;
  }

  #rejectionRate(): number {
    const asked = this.#asked + this.#askedBefore;
    return asked === 0 ? 0 : (this.#denied + this.#deniedBefore) / asked;
  }
}

/** What may take long has many under way without being behind: at first as many as 200 a second would be. */
function firstLimit(targetMs: number, given: ShedSettings['limit']): number {
  const { minLimit, initialLimit, maxLimit } = { ...limitDefaults, ...given };
  return Math.min(maxLimit, Math.max(minLimit, initialLimit, Math.round(targetMs / 5)));
}

const used = Symbol('plimsoll.shed.used');

/** Whether no request of this connection was seen before. */
function isFirstOf(socket: (Socket & { [used]?: true }) | undefined): boolean {
  // A request that was not read from one.
  if (socket === undefined) return true;
  if (socket[used] === true) return false;
  socket[used] = true;
  return true;
}

class Admitted implements Admission {
  readonly admitted = true;
  readonly #permit: Permit;

  constructor(permit: Permit) {
    this.#permit = permit;
  }

  succeed(): void {
    this.#permit.succeed();
  }

  drop(): void {
    this.#permit.drop();
  }

  ignore(): void {
    this.#permit.ignore();
  }

  abandon(): void {
    this.#permit.abandon();
  }
}

class AdmittedClient implements Admission {
  readonly admitted = true;
  readonly #permit: Permit;
  readonly #place: number;
  // Undefined once told.
  #clients: ClientShares | undefined;

  constructor(permit: Permit, clients: ClientShares, place: number) {
    this.#permit = permit;
    this.#clients = clients;
    this.#place = place;
  }

  succeed(): void {
    this.#leave();
    this.#permit.succeed();
  }

  drop(): void {
    this.#leave();
    this.#permit.drop();
  }

  ignore(): void {
    this.#leave();
    this.#permit.ignore();
  }

  abandon(): void {
    this.#leave();
    this.#permit.abandon();
  }

  #leave(): void {
    this.#clients?.end(this.#place);
    this.#clients = undefined;
  }
}

const nothing = (): void => {};
const bypassed: Admission = {
  admitted: true,
  succeed: nothing,
  drop: nothing,
  ignore: nothing,
  abandon: nothing,
};
