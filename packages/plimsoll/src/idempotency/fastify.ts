import { Buffer } from 'node:buffer';
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import { background } from '../kernel/channels.ts';
import { CapturedBody, recordedFields } from './captured.ts';
import type { Claim, GivenAnswer, Idempotency } from './idempotency.ts';
import {
  busySeconds,
  isSafe,
  requestOf,
  runHandler,
  type HttpIdempotencyOptions,
  type IdempotentHandler,
  type RequestLike,
} from './http.ts';

/** What is needed of Fastify's reply. */
export interface IdempotentReply {
  code(status: number): unknown;
  headers(fields: Readonly<Record<string, string>>): unknown;
  send(body?: unknown): unknown;
}

/**
 * A handler of Fastify whose effect is once for each `Idempotency-Key`:
 * `app.post('/orders', idempotentFastify(idempotency, async (request, tx) => ({ status: 201, body })))`.
 * Refusals go to the error handler, as does what the handler throws.
 */
export function idempotentFastify<Request extends RequestLike, T = unknown>(
  idempotency: Idempotency,
  handler: IdempotentHandler<Request, T>,
  options: HttpIdempotencyOptions<Request> = {},
): (request: Request, reply: IdempotentReply) => Promise<unknown> {
  return async (request, reply) => {
    try {
      send(reply, await runHandler(idempotency, handler, options, request), idempotency);
      return reply;
    } catch (error) {
      throw refused(reply, error);
    }
  };
}

interface Claimed {
  idempotency?: Claim;
}

/**
 * Plugin of Fastify for handlers that answer by themselves: a key is claimed before them, and what they have answered
 * is recorded before it leaves. `request.idempotency.transaction(effect)` commits an effect with its answer, which the
 * handler then sends. An effect that is committed otherwise is there before its record is: when the process dies in
 * between, the same key runs the handler again once the lease has ended.
 */
export function idempotencyPlugin(
  idempotency: Idempotency,
  options: HttpIdempotencyOptions<FastifyRequest> = {},
): FastifyPluginCallback {
  const plugin: FastifyPluginCallback = (app, _options, done) => {
    app.addHook('preHandler', async (request, reply) => {
      if (isSafe(request.method)) return undefined;
      let claim: Claim | GivenAnswer | undefined;
      try {
        claim = await idempotency.claim(requestOf(request, options));
      } catch (error) {
        throw refused(reply, error);
      }
      if (claim !== undefined && 'status' in claim) {
        send(reply, claim, idempotency);
        return reply;
      }
      if (claim !== undefined) (request as Claimed).idempotency = claim;
      return undefined;
    });
    app.addHook('onSend', async (request, reply, payload) => {
      const { idempotency: claim } = request as Claimed;
      if (claim !== undefined) await record(claim, reply, payload, idempotency);
      return payload;
    });
    done();
  };
  // For the whole app, wherever it is registered.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true });
}

async function record(
  claim: Claim,
  reply: FastifyReply,
  payload: unknown,
  { maxAnswerBytes, scope }: Idempotency,
): Promise<void> {
  const captured = new CapturedBody(maxAnswerBytes);
  captured.add(payload, 'utf8');
  const { statusCode: status } = reply;
  const isStream =
    payload !== undefined && payload !== null && typeof payload === 'object' && !Buffer.isBuffer(payload);
  const answer = { status, headers: recordedFields(reply.getHeaders()), body: captured.body };
  try {
    await claim.end(status, captured.isTooLarge || isStream ? undefined : answer);
  } catch (error) {
    // The effect is there, and its answer is sent; the end of the lease frees the key.
    background.publish({ scope, what: 'record of an answer', error });
  }
}

function send(
  reply: IdempotentReply,
  { status, headers, body, replayed }: GivenAnswer,
  { replayedHeader }: Idempotency,
): void {
  reply.code(status);
  reply.headers(replayed ? { ...headers, [replayedHeader]: 'true' } : headers);
  reply.send(body instanceof Uint8Array ? Buffer.from(body) : body);
}

function refused(reply: IdempotentReply, error: unknown): unknown {
  const seconds = busySeconds(error);
  if (seconds !== undefined) reply.headers({ 'retry-after': seconds });
  return error;
}
