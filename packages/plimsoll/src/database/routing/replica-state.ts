import type { Lsn } from '../../kernel/seen.ts';

/** What one poll of a replica told, or the sample behind a read on it. */
export interface Observation {
  /** Undefined on a server that is no standby. */
  readonly replayed: Lsn | undefined;
  /** When its server started. */
  readonly incarnation: number;
}

/** What a poll also told. */
export interface Poll extends Observation {
  /** Whether it follows the history that the primary writes. */
  readonly follows: boolean;
  /** Behind the primary. */
  readonly lagMs: number;
  readonly lagBytes: number;
}

export type OutReason = 'never asked' | 'lag' | 'polls' | 'connection' | 'promoted' | 'epoch';

export interface ReplicaLimits {
  readonly lagBudgetMs: number;
  readonly lagBudgetBytes: number;
  readonly slowStartMs: number;
}

/** Good polls in a row after which a replica that was put out serves again. */
export const pollsToReturn = 3;
const pollsToLeave = 2;
/** Polls in a row from a server with an earlier start, after which its clock is believed to have been set back. */
const olderToBelieve = 3;
const firstWeight = 0.1;

/**
 * What is known of one replica. Positions belong to one incarnation of its server: a restarted one may show less than
 * before. Pure: time and observations come from outside, in any order.
 */
export class ReplicaState {
  readonly #limits: ReplicaLimits;
  #incarnation = 0;
  /** The highest position seen of this incarnation. */
  #replayed: Lsn = 0n;
  /** Undefined while it may serve. */
  #out: OutReason | undefined = 'never asked';
  #failedPolls = 0;
  #goodPolls = 0;
  #olderPolls = 0;
  #follows = false;
  #lagMs = 0;
  #lagBytes = 0;
  /** When it came back; its share grows from then. */
  #returnedAtMs = -Infinity;

  constructor(limits: ReplicaLimits) {
    this.#limits = limits;
  }

  get incarnation(): number {
    return this.#incarnation;
  }
  get replayed(): Lsn {
    return this.#replayed;
  }
  get out(): OutReason | undefined {
    return this.#out;
  }
  get follows(): boolean {
    return this.#follows;
  }
  /** As of its last poll. */
  get lagMs(): number {
    return this.#lagMs;
  }
  get lagBytes(): number {
    return this.#lagBytes;
  }

  /** Whether a read that needs this position may go there; its answer counts only if {@link confirms}. */
  canServe(need: Lsn): boolean {
    return this.#out === undefined && this.#replayed >= need;
  }

  /** From {@link firstWeight} up to 1 after it came back. */
  weight(nowMs: number): number {
    const since = nowMs - this.#returnedAtMs;
    const { slowStartMs } = this.#limits;
    return since >= slowStartMs ? 1 : firstWeight + (1 - firstWeight) * (since / slowStartMs);
  }

  /** Takes in the sample behind a read; false when the read was served by another incarnation than the one chosen. */
  confirms(chosen: number, sample: Observation): boolean {
    if (sample.replayed === undefined) {
      this.#leave('promoted');
      return false;
    }
    if (sample.incarnation > this.#incarnation) this.#begin(sample);
    else if (sample.incarnation === this.#incarnation) this.#advance(sample.replayed);
    return sample.incarnation === chosen;
  }

  polled(poll: Poll, nowMs: number): void {
    if (poll.replayed === undefined) return this.#leave('promoted');
    if (poll.incarnation < this.#incarnation) {
      this.#olderPolls += 1;
      if (this.#olderPolls < olderToBelieve) return;
    }
    this.#olderPolls = 0;
    this.#failedPolls = 0;
    if (poll.incarnation === this.#incarnation) this.#advance(poll.replayed);
    else this.#begin({ replayed: poll.replayed, incarnation: poll.incarnation });
    this.#follows = poll.follows;
    this.#lagMs = poll.lagMs;
    this.#lagBytes = poll.lagBytes;
    if (!poll.follows) return this.#leave('epoch');
    if (poll.lagMs > this.#limits.lagBudgetMs || poll.lagBytes > this.#limits.lagBudgetBytes)
      return this.#leave('lag');
    this.#goodPolls += 1;
    if (this.#out === undefined) return;
    const first = this.#out === 'never asked';
    if (!first && this.#goodPolls < pollsToReturn) return;
    this.#out = undefined;
    this.#returnedAtMs = first ? -Infinity : nowMs;
  }

  pollFailed(): void {
    this.#goodPolls = 0;
    this.#failedPolls += 1;
    if (this.#failedPolls >= pollsToLeave && this.#out === undefined) this.#out = 'polls';
  }

  /** The server refused connections or said that it is shutting down or starting up. */
  refused(): void {
    this.#leave('connection');
  }

  /** It is known now which history the primary writes, at first or anew; until it is seen here, nothing counts. */
  historyChanged(first: boolean): void {
    this.#follows = false;
    this.#replayed = 0n;
    if (!first) this.#leave('epoch');
    else if (this.#out === undefined) this.#out = 'never asked';
  }

  #leave(reason: OutReason): void {
    this.#goodPolls = 0;
    this.#out = reason;
  }

  #advance(replayed: Lsn): void {
    if (replayed > this.#replayed) this.#replayed = replayed;
  }

  #begin({ replayed, incarnation }: Observation): void {
    this.#incarnation = incarnation;
    this.#replayed = replayed ?? 0n;
  }
}
