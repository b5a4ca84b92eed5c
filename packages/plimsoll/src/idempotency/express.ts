import type { ServerResponse } from 'node:http';
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

type Next = (error?: unknown) => void;

/**
 * A handler of Express whose effect is once for each `Idempotency-Key`:
 * `app.post('/orders', express.json(), idempotentExpress(idempotency, async (request, tx) => ({ status: 201, body })))`.
 * Put it behind the parser of the body, which is what tells one piece of work from another. Refusals go to the error
 * handler, as does what the handler throws.
 */
export function idempotentExpress<Request extends RequestLike, T = unknown>(
  idempotency: Idempotency,
  handler: IdempotentHandler<Request, T>,
  options: HttpIdempotencyOptions<Request> = {},
): (request: Request, response: ServerResponse, next: Next) => void {
  return (request, response, next) => {
    runHandler(idempotency, handler, options, request).then(
      (answer) => write(response, answer, idempotency.replayedHeader),
      (error: unknown) => refuse(response, error, next),
    );
  };
}

/**
 * Middleware of Express for handlers that answer by themselves: a key is claimed before them, and what they have
 * answered is recorded before it leaves. `request.idempotency.transaction(effect)` commits an effect with its answer,
 * which the handler then sends. An effect that is committed otherwise is there before its record is: when the process
 * dies in between, the same key runs the handler again once the lease has ended. Put it behind the parser of the body.
 */
export function idempotencyMiddleware<Request extends RequestLike>(
  idempotency: Idempotency,
  options: HttpIdempotencyOptions<Request> = {},
): (request: Request & { idempotency?: Claim }, response: ServerResponse, next: Next) => void {
  /** Whether the handler has to run. */
  async function begin(
    request: Request & { idempotency?: Claim },
    response: ServerResponse,
  ): Promise<boolean> {
    const claim = await idempotency.claim(requestOf(request, options));
    if (claim === undefined) return true;
    if ('status' in claim) {
      write(response, claim, idempotency.replayedHeader);
      return false;
    }
    request.idempotency = claim;
    recordBeforeEnd(response, claim, idempotency);
    return true;
  }
  return (request, response, next) => {
    if (isSafe(request.method)) return next();
    void (async () => {
      let runs: boolean;
      try {
        runs = await begin(request, response);
      } catch (error) {
        return refuse(response, error, next);
      }
      if (runs) next();
    })();
  };
}

/**
 * Whoever ends the answer, its end leaves once it is recorded: also when the client has gone, who comes back for it.
 * A handler that never ends keeps its key until the lease has.
 */
function recordBeforeEnd(response: ServerResponse, claim: Claim, idempotency: Idempotency): void {
  const captured = new CapturedBody(idempotency.maxAnswerBytes);
  const write = response.write.bind(response) as (...given: unknown[]) => boolean;
  const end = response.end.bind(response) as (...given: unknown[]) => ServerResponse;
  let ending = false;
  response.write = (...given: unknown[]): boolean => {
    captured.add(given[0], given[1]);
    return write(...given);
  };
  response.end = (...given: unknown[]): ServerResponse => {
    if (ending) return response;
    ending = true;
    captured.add(given[0], given[1]);
    const { statusCode: status } = response;
    const answer = { status, headers: recordedFields(response.getHeaders()), body: captured.body };
    void claim
      .end(status, captured.isTooLarge ? undefined : answer)
      // The effect is there, and its answer is sent; the end of the lease frees the key.
      .catch((error: unknown) =>
        background.publish({ scope: idempotency.scope, what: 'record of an answer', error }),
      )
      .then(() => {
        response.write = write as ServerResponse['write'];
        response.end = end;
        end(...given);
      });
    return response;
  };
}

function refuse(response: ServerResponse, error: unknown, next: Next): void {
  const seconds = busySeconds(error);
  if (seconds !== undefined && !response.headersSent) response.setHeader('retry-after', seconds);
  next(error);
}

function write(
  response: ServerResponse,
  { status, headers, body, replayed }: GivenAnswer,
  replayedHeader: string,
): void {
  // The client has gone.
  if (response.destroyed || response.headersSent) return;
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (replayed) response.setHeader(replayedHeader, 'true');
  response.end(body);
}
