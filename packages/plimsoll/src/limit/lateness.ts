import type { LimitSettings } from './options.ts';

/** Above this share of the target answers are late; only below the other the limit grows. */
const lateShare = 0.7;
const easyShare = 0.5;
/** So many times a round trip that is borne is late, and up to so many the limit may grow. */
const bornFactor = 1.5;
const growingFactor = 1.25;
/** A borne round trip is looked at again after the renewal, and after up to so many times that. */
const mostRenewals = 10;

/** From when on answers are late: by the target, or by what a server that has become slower cannot do without. */
export class Lateness {
  readonly #settings: LimitSettings;
  /** A round trip that less concurrency did not shorten: it is borne although it is late, and until when. */
  #bornMs = 0;
  #bornUntilMs = -Infinity;
  /** Doubles while it is found again that less makes no difference. */
  #bornForMs = 0;
  /** Undefined while answers are in time. */
  #sinceMs: number | undefined;

  constructor(settings: LimitSettings) {
    this.#settings = settings;
  }

  /** Up to here more may be let through. */
  easyMs(nowMs: number): number {
    const borne = this.#isBorne(nowMs) ? growingFactor * this.#bornMs : 0;
    return Math.max(easyShare * this.#settings.targetMs, borne);
  }

  /** For how long answers have been late, with this one; undefined when it is in time. */
  note(nowMs: number, rttMs: number): number | undefined {
    const borne = this.#isBorne(nowMs) ? bornFactor * this.#bornMs : 0;
    if (rttMs >= Math.max(lateShare * this.#settings.targetMs, borne)) {
      this.#sinceMs ??= nowMs;
      return nowMs - this.#sinceMs;
    }
    this.#sinceMs = undefined;
    if (!this.#isBorne(nowMs)) this.#bornForMs = 0;
    return undefined;
  }

  /** Less made no difference. */
  bear(nowMs: number, rttMs: number): void {
    const { renewMs, random } = this.#settings;
    this.#bornMs = rttMs;
    this.#bornForMs = Math.min(mostRenewals * renewMs, Math.max(renewMs, 2 * this.#bornForMs));
    this.#bornUntilMs = nowMs + this.#bornForMs * (0.8 + 0.4 * random());
  }

  forget(): void {
    this.#bornUntilMs = -Infinity;
    this.#bornForMs = 0;
  }

  #isBorne(nowMs: number): boolean {
    return nowMs < this.#bornUntilMs;
  }
}
