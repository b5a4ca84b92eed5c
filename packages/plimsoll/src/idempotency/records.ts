import { Buffer } from 'node:buffer';
import type { Database } from '../database/database.ts';
import type { Sql } from '../database/sql.ts';
import type { Queryable, Row } from '../database/statements.ts';
import type { Opening } from '../database/transaction.ts';
import { background, idempotency, type IdempotencyMessage } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import { isPlimsollError, throwIfProblems, type Problem } from '../kernel/errors.ts';
import { AlreadyDone, busy, KeyTaken, notKept, reused, type KeyedWork } from './keyed-work.ts';
import {
  claimKey,
  deleteExpired,
  endClaim,
  findKey,
  freeClaim,
  recordAnswer,
  takeKey,
  type KnownRow,
} from './statements.ts';

/** What a second use of a key with another input is refused with: 422, or 400 as Stripe has it. */
export type ReusedCode = 'PL_IDEMPOTENCY_REUSED' | 'PL_IDEMPOTENCY_KEY';

export interface RecordOptions {
  /** How long a key that a client sent is known. Default 24 h. */
  readonly keepMs?: number;
  /** Largest answer that is kept, in bytes of JSON; of a larger one only that it was given. Default 256 KiB. */
  readonly maxAnswerBytes?: number;
}

export const recordDefaults = { keepMs: 86_400_000, maxAnswerBytes: 262_144 } as const;

/** How often, and how many at once, rows that have expired are deleted. */
const sweepMs = 60_000;
const sweepRows = 1_000;

/** A question about a key, and what came of it. */
export interface KeyOpening extends Opening {
  readonly isAsked: boolean;
  /** Why the work must not be done: {@link AlreadyDone}, or an error with a code. */
  readonly refused: Error | undefined;
}

/** Keys and answers of one database. Whoever records also deletes what has expired, so nothing needs to be started. */
export class Records {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly keepMs: number;
  readonly #maxAnswerBytes: number;
  readonly #reusedCode: ReusedCode;
  #sweepAtMs: number;

  constructor(
    database: Database,
    options: RecordOptions = {},
    clock: Clock = systemClock,
    reusedCode: ReusedCode = 'PL_IDEMPOTENCY_REUSED',
  ) {
    throwIfProblems('idempotency', numberProblems(options, ['keepMs', 'maxAnswerBytes']));
    this.#database = database;
    this.#clock = clock;
    this.#reusedCode = reusedCode;
    this.keepMs = options.keepMs ?? recordDefaults.keepMs;
    this.#maxAnswerBytes = options.maxAnswerBytes ?? recordDefaults.maxAnswerBytes;
    this.#sweepAtMs = clock.monotonicMs() + sweepMs;
  }

  /** For the transaction of the work: it does nothing when it is done already, or under way. */
  opening(work: KeyedWork): KeyOpening {
    const opening = {
      question: takeKey(work),
      isAsked: false,
      refused: undefined as Error | undefined,
      refusal: (row: Row | undefined) => {
        opening.isAsked = true;
        opening.refused = this.#judge(work, row as Partial<KnownRow> | undefined);
        return opening.refused;
      },
    };
    return opening;
  }

  /** Why the work must not be done, if anything says so: {@link AlreadyDone}, or an error with a code. */
  async refusalOf(work: KeyedWork): Promise<Error | undefined> {
    return this.#judge(work, await this.#database.maybeOne<KnownRow>(findKey(work)));
  }

  /**
   * What work that did not commit is refused with: what was recorded meanwhile, or in a COMMIT that was not answered;
   * else what was thrown. Where nobody can be asked any more, that is all that is known.
   */
  async refusalAfter(work: KeyedWork, thrown: unknown): Promise<unknown> {
    const taken = thrown instanceof KeyTaken;
    if (!taken && !isPlimsollError(thrown, 'PL_COMMIT_UNKNOWN')) return thrown;
    const refusal = await this.refusalOf(work).catch(() => undefined);
    return refusal ?? (taken ? this.#tell(work, 'busy', busy(work)) : thrown);
  }

  /** The statement that records the answer, as JSON: one row, or none when somebody else's is there. */
  recording(work: KeyedWork, answer: unknown, keepMs = this.keepMs): Sql {
    this.#sweepNowAndThen();
    return recordAnswer(work, this.#kept(answer), keepMs);
  }

  /** Begins work that cannot be in one transaction; answers the number of this attempt, or why not. */
  async claim(work: KeyedWork, leaseMs: number): Promise<number | Error> {
    this.#sweepNowAndThen();
    const claimed = await this.#database.maybeOne<{ attempt: number }>(claimKey(work, leaseMs, this.keepMs));
    if (claimed !== undefined) return claimed.attempt;
    return (await this.refusalOf(work)) ?? this.#tell(work, 'busy', busy(work));
  }

  /**
   * In the transaction of the effect; throws when somebody else has begun the work again, and that must roll back.
   * `answer` undefined: it was too large.
   */
  async end(
    tx: Pick<Queryable, 'execute'>,
    work: KeyedWork,
    attempt: number,
    answer: unknown,
  ): Promise<void> {
    if ((await tx.execute(endClaim(work, attempt, this.#kept(answer)))) === 0)
      throw this.#tell(work, 'busy', busy(work));
  }

  /** Without an answer. When it fails, the end of the lease does it. */
  async free(work: KeyedWork, attempt: number): Promise<void> {
    // In a context of its own, for that of the request may have ended.
    await runInContext(createContext(), () => this.#database.execute(freeClaim(work, attempt))).catch(
      () => undefined,
    );
  }

  #kept(answer: unknown): string | null {
    if (answer === undefined) return null;
    const json = JSON.stringify(answer);
    return Buffer.byteLength(json) > this.#maxAnswerBytes ? null : json;
  }

  #judge(work: KeyedWork, row: Partial<KnownRow> = {}): Error | undefined {
    const { fingerprint = null, answer = null, busyMs = null, free = true } = row;
    if (fingerprint === null) return free ? undefined : this.#tell(work, 'busy', busy(work));
    if (fingerprint !== work.fingerprint)
      return this.#tell(work, 'reused', reused(work, fingerprint, this.#reusedCode));
    if (busyMs !== null && busyMs > 0) return this.#tell(work, 'busy', busy(work, busyMs));
    if (busyMs !== null) return free ? undefined : this.#tell(work, 'busy', busy(work));
    if (answer === null) return this.#tell(work, 'not-kept', notKept(work));
    return this.#tell(work, 'replayed', new AlreadyDone(JSON.parse(answer)));
  }

  #tell(work: KeyedWork, outcome: IdempotencyMessage['outcome'], refusal: Error): Error {
    if (idempotency.hasSubscribers)
      idempotency.publish({ scope: this.#database.scope, work: work.scope, outcome });
    return refusal;
  }

  #sweepNowAndThen(): void {
    if (this.#clock.monotonicMs() < this.#sweepAtMs) return;
    this.#sweepAtMs = this.#clock.monotonicMs() + sweepMs;
    // In a context of its own: nobody waits for it.
    void runInContext(createContext(), () => this.#sweep()).catch((error: unknown) =>
      background.publish({ scope: this.#database.scope, what: 'sweep of idempotency keys', error }),
    );
  }

  async #sweep(): Promise<void> {
    let deleted: number;
    do deleted = await this.#database.execute(deleteExpired(sweepRows));
    while (deleted === sweepRows);
  }
}

/** Those of the options that are there and not above 0. */
export function numberProblems<Name extends string>(
  options: Readonly<Partial<Record<Name, number>>>,
  names: readonly Name[],
): readonly Problem[] {
  return names.flatMap((path) => {
    const value = options[path];
    return value === undefined || (Number.isFinite(value) && value > 0)
      ? []
      : [{ path, message: `is ${value}; want a number above 0` }];
  });
}
