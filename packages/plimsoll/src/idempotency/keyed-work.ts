import type { Caller } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';

/** One piece of work, as its caller names it. */
export interface KeyedWork {
  /** What is done: a command `orders.place`, a route `POST /orders`. The same key means nothing in another one. */
  readonly scope: string;
  /** Whose key it is; see {@link clientOf}. */
  readonly client: string;
  readonly key: string;
  /** Of what is asked for; see `fingerprintOf`. */
  readonly fingerprint: string;
  /** Whose personal data the answer holds. Default nobody's. */
  readonly subject?: string | undefined;
}

/** Keys of one client are never those of another. Who is not known shares them with all who are not. */
export function clientOf({ tenant, principal }: Caller): string {
  return tenant === undefined && principal === undefined
    ? ''
    : JSON.stringify([tenant ?? null, principal ?? null]);
}

/** The work was done under this key before. Thrown in place of doing it again. */
export class AlreadyDone extends Error {
  override readonly name = 'AlreadyDone';
  /** As it was recorded. */
  readonly answer: unknown;

  constructor(answer: unknown) {
    super('this was done before under the same key');
    this.answer = answer;
  }
}

/** Somebody else has recorded an answer under the same key meanwhile: roll back, and give that. */
export class KeyTaken extends Error {
  override readonly name = 'KeyTaken';
}

const shown = ({ scope, key }: KeyedWork): string => `${scope} under the key ${JSON.stringify(key)}`;

export function busy(work: KeyedWork, retryAfterMs?: number): PlimsollError {
  const { scope, key } = work;
  return new PlimsollError(
    'PL_IDEMPOTENCY_BUSY',
    `${shown(work)} is under way elsewhere; send the same again when it has been answered`,
    { data: { scope, key, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) } },
  );
}

export function reused(
  work: KeyedWork,
  recorded: string,
  code: 'PL_IDEMPOTENCY_REUSED' | 'PL_IDEMPOTENCY_KEY' = 'PL_IDEMPOTENCY_REUSED',
): PlimsollError {
  const { scope, key, fingerprint } = work;
  return new PlimsollError(
    code,
    `${shown(work)} was begun with another input: SHA-256 ${recorded} then, ${fingerprint} now; send what was sent first, or take a new key for new work`,
    { data: { scope, key, recorded, sent: fingerprint } },
  );
}

export function notKept(work: KeyedWork): PlimsollError {
  const { scope, key } = work;
  return new PlimsollError(
    'PL_IDEMPOTENCY_NOT_KEPT',
    `${shown(work)} was done, and its answer is not kept: it was too large (maxAnswerBytes), or held the data of a person that was erased; read what it has done`,
    { data: { scope, key } },
  );
}
