import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import {
  answerRecorded,
  recordedAnswer,
  wireAnswer,
  type Answer,
  type RecordedAnswer,
  type WireAnswer,
} from './answer.ts';
import { fingerprintOf } from './fingerprint.ts';
import { readKey, replayedHeader } from './key.ts';
import { AlreadyDone, KeyTaken, type KeyedWork } from './keyed-work.ts';
import { numberProblems, recordDefaults, Records, type RecordOptions } from './records.ts';

export interface IdempotencyOptions extends RecordOptions {
  /** Where the effects are, and the table of `idempotencyMigrations`: yours by `fromPool(pool)`. */
  readonly database: Database;
  /** Whether a request without a key is refused with 400. Default false: it runs, and nothing is recorded. */
  readonly required?: boolean;
  /**
   * What differs: `ietf` refuses a key with another body with 422 and says `Idempotency-Replayed`; `stripe` refuses it
   * with 400, says `Idempotent-Replayed`, and keeps answers of 5xx too. Default `ietf`.
   */
  readonly semantics?: 'ietf' | 'stripe';
  /**
   * Whether an answer of this status is kept. One that is not rolls its transaction back, so that the same may be
   * sent again. Default all but 400, 401, 403, 408, 429 and, with `ietf`, 5xx.
   */
  readonly keeps?: (status: number) => boolean;
  /** How long work that calls outside may be under way before another may begin it again. Default 60_000. */
  readonly leaseMs?: number;
  readonly clock?: Clock;
}

export const idempotencyDefaults = { required: false, semantics: 'ietf', leaseMs: 60_000 } as const;

/** One request, as far as it matters here. */
export interface IdempotentRequest {
  readonly method: string;
  /** The pattern where there is one: `/orders/:id`. */
  readonly route: string;
  /** What was sent as `Idempotency-Key`. */
  readonly field: string | readonly string[] | undefined;
  /** Whose keys these are, such as a tenant; empty for nobody known. */
  readonly client: string;
  /** Whose personal data the answer holds, for `eraseSubject`. Default nobody's. */
  readonly subject?: string | undefined;
  /** What is asked for, as JSON: body, path parameters, query. */
  readonly input: unknown;
}

/** Work that calls outside systems before its effect in the database. */
export interface OutsideWork<T> {
  /** Runs in no transaction. It may be repeated after a crash, with the same key, which the outside must know it by. */
  readonly outside: (key: string) => Promise<T>;
  /** Commits with the record of its answer. */
  readonly effect: (tx: Transaction, result: T) => Promise<Answer>;
}

export interface GivenAnswer extends WireAnswer {
  /** Whether it was given before. */
  readonly replayed: boolean;
}

/** Work that is under way, until it is ended or freed. */
export interface Claim {
  /** To pass on: the same for each attempt at this work, and for no other. */
  readonly key: string;
  /** Runs the effect and records its answer in one transaction. */
  transaction(effect: (tx: Transaction) => Promise<Answer>): Promise<GivenAnswer>;
  /**
   * Records an answer whose effect has been committed otherwise; or, when one of this status is not kept, frees the
   * key. Without the answer, because it was too large, only that it was given.
   */
  end(status: number, answer: WireAnswer | undefined): Promise<void>;
  /** No answer: the same may be sent again at once. */
  free(): Promise<void>;
}

export interface Idempotency {
  /** The effect in one transaction, and with it the record of its answer. */
  once(request: IdempotentRequest, effect: (tx: Transaction) => Promise<Answer>): Promise<GivenAnswer>;
  /** A commit that says it has begun, the outside, and a commit with the effect and the record. */
  onceOutside<T>(request: IdempotentRequest, work: OutsideWork<T>): Promise<GivenAnswer>;
  /** For an adapter: begins the work, or answers what it was answered before. Undefined without a key. */
  claim(request: IdempotentRequest): Promise<Claim | GivenAnswer | undefined>;
  /** The field that says that an answer was given before. */
  readonly replayedHeader: string;
  /** Largest answer that is kept. */
  readonly maxAnswerBytes: number;
  readonly scope: object;
}

const neverKept = new Set([400, 401, 403, 408, 429]);

/** An answer that is not kept, on its way past the transaction that it rolls back. */
class NotKept extends Error {
  readonly answer: WireAnswer;
  constructor(answer: WireAnswer) {
    super(`status ${answer.status}`);
    this.answer = answer;
  }
}

export function createIdempotency(options: IdempotencyOptions): Idempotency {
  const { database, clock = systemClock } = options;
  const { required, semantics, leaseMs } = { ...idempotencyDefaults, ...options };
  throwIfProblems('idempotency', numberProblems(options, ['keepMs', 'maxAnswerBytes', 'leaseMs']));
  const stripe = semantics === 'stripe';
  const keeps = options.keeps ?? ((status: number) => !neverKept.has(status) && (stripe || status < 500));
  const records = new Records(
    database,
    options,
    clock,
    stripe ? 'PL_IDEMPOTENCY_KEY' : 'PL_IDEMPOTENCY_REUSED',
  );

  /** Undefined without a key. */
  function workOf({
    method,
    route,
    field,
    client,
    subject,
    input,
  }: IdempotentRequest): KeyedWork | undefined {
    const sent = readKey(field);
    const scope = `${method} ${route}`;
    if (sent.is === 'unreadable' || (sent.is === 'none' && required))
      throw new PlimsollError(
        'PL_IDEMPOTENCY_KEY',
        sent.is === 'none'
          ? `${scope} wants an Idempotency-Key; send one that names this piece of work, and the same one when you send it again`
          : `the Idempotency-Key of ${scope} cannot be read: ${sent.why}; send a text such as a UUID`,
      );
    return sent.is === 'none'
      ? undefined
      : { scope, client, key: sent.key, fingerprint: fingerprintOf(input), subject };
  }

  /** Runs the effect and what records its answer; an answer that is not kept rolls both back. */
  async function commit(
    effect: (tx: Transaction) => Promise<Answer>,
    record: (tx: Transaction, answer: RecordedAnswer) => Promise<void>,
    transactionOptions: Parameters<Database['transaction']>[1] = {},
  ): Promise<GivenAnswer> {
    try {
      const answer = await database.transaction(async (tx) => {
        const given = wireAnswer(await effect(tx));
        if (!keeps(given.status)) throw new NotKept(given);
        await record(tx, recordedAnswer(given));
        return given;
      }, transactionOptions);
      return { ...answer, replayed: false };
    } catch (error) {
      if (error instanceof NotKept) return { ...error.answer, replayed: false };
      throw error;
    }
  }

  async function once(
    request: IdempotentRequest,
    effect: (tx: Transaction) => Promise<Answer>,
  ): Promise<GivenAnswer> {
    const work = workOf(request);
    if (work === undefined) return commit(effect, async () => undefined);
    const opening = records.opening(work);
    try {
      return await commit(
        effect,
        async (tx, answer) => {
          if ((await tx.execute(records.recording(work, answer))) === 0) throw new KeyTaken();
        },
        { opening },
      );
    } catch (error) {
      return answered(opening.refused ?? (await records.refusalAfter(work, error)));
    }
  }

  async function claim(request: IdempotentRequest): Promise<Claim | GivenAnswer | undefined> {
    const work = workOf(request);
    if (work === undefined) return undefined;
    const attempt = await records.claim(work, leaseMs);
    if (attempt instanceof Error) return answered(attempt);
    let ended = false;
    const free = async (): Promise<void> => {
      if (!ended) await records.free(work, attempt);
    };
    return {
      key: fingerprintOf([work.scope, work.client, work.key]),
      async transaction(effect) {
        const answer = await commit(effect, (tx, recorded) => records.end(tx, work, attempt, recorded));
        if (keeps(answer.status)) ended = true;
        return answer;
      },
      async end(status, answer) {
        if (ended) return;
        if (!keeps(status)) return free();
        await records.end(database, work, attempt, answer && recordedAnswer(answer));
        ended = true;
      },
      free,
    };
  }

  async function onceOutside<T>(
    request: IdempotentRequest,
    { outside, effect }: OutsideWork<T>,
  ): Promise<GivenAnswer> {
    const claimed = await claim(request);
    if (claimed !== undefined && 'status' in claimed) return claimed;
    if (claimed === undefined) {
      const result = await outside(crypto.randomUUID());
      return commit(
        (tx) => effect(tx, result),
        async () => undefined,
      );
    }
    try {
      const result = await outside(claimed.key);
      return await claimed.transaction((tx) => effect(tx, result));
    } finally {
      // Nothing where it has ended.
      await claimed.free();
    }
  }

  return {
    once,
    onceOutside,
    claim,
    replayedHeader: stripe ? 'idempotent-replayed' : replayedHeader,
    maxAnswerBytes: options.maxAnswerBytes ?? recordDefaults.maxAnswerBytes,
    scope: database.scope,
  };
}

function answered(refusal: unknown): GivenAnswer {
  if (refusal instanceof AlreadyDone)
    return { ...answerRecorded(refusal.answer as RecordedAnswer), replayed: true };
  throw refusal;
}
