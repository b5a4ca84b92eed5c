/**
 * `plimsoll/idempotency`: the same key, the same effect, the same answer.
 *
 * Guarantee: work under a key has its effect once and one answer, whoever sends it again, how often, at the same time
 * or after a crash, as long as the key is known: the answer is recorded in the transaction of the effect. The same
 * key with another input is refused. Commands of an app do so by themselves, under each key that somebody else gave;
 * here is the same for routes on your own pool, and for webhooks.
 *
 * Authoritative: the row of the key, which exists exactly when the effect does. Work that calls outside systems has
 * a row before, with a lease, so that the same key is passed on again after a crash.
 *
 * States of a key: new → done (answered the same until it expires) → new; with calls outside: new → running → (done |
 * free) and free → running, when it ended without an answer or its lease did.
 *
 * Not promised: an effect outside the database once. That takes an outside that knows the key which it is passed. Nor,
 * of handlers behind `idempotencyMiddleware` or `idempotencyPlugin`, an effect once that they commit by themselves.
 *
 * On failure: a throw records nothing, and the work may be sent again; while it is under way elsewhere it is
 * PL_IDEMPOTENCY_BUSY and no connection waits; a table that cannot be asked fails the work before its effect.
 */
export type { Answer, WireAnswer } from './answer.ts';
export { idempotencyMiddleware, idempotentExpress } from './express.ts';
export { idempotencyPlugin, idempotentFastify, type IdempotentReply } from './fastify.ts';
export { fingerprintOf } from './fingerprint.ts';
export type { HttpIdempotencyOptions, IdempotentHandler, RequestLike } from './http.ts';
export { createIdempotency, idempotencyDefaults } from './idempotency.ts';
export type {
  Claim,
  GivenAnswer,
  Idempotency,
  IdempotencyOptions,
  IdempotentRequest,
  OutsideWork,
} from './idempotency.ts';
export { clientOf } from './keyed-work.ts';
export { idempotencyMigrations } from './migrations.ts';
export { recordDefaults, type RecordOptions } from './records.ts';
export { signatureDefaults, standardSignature, stripeSignature } from './signature.ts';
export type { SignatureOptions, SignedMessage, VerifyMessage } from './signature.ts';
export { createWebhooks, webhookDefaults, type WebhookOptions, type Webhooks } from './webhooks.ts';
