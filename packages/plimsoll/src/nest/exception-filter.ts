import type { IncomingMessage } from 'node:http';
import { ServerResponse } from 'node:http';
import { Catch, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { answerProblem } from '../express/answer.ts';
import { arrivalOf } from '../express/arrival.ts';
import { problemOf, retryAfterSeconds } from '../gateway/problem.ts';
import { isPlimsollError, type PlimsollError } from '../kernel/errors.ts';

/** By code and not by class, which another copy of the package would have for itself. */
abstract class ErrorWithCode {
  static [Symbol.hasInstance](error: unknown): boolean {
    return isPlimsollError(error);
  }
}

/**
 * Answers an error that has a code of ours as a problem, as the gateway does; Nest never asks it about others.
 * The modules add it to the whole app; name it in `UseFilters` where a filter of yours that catches everything
 * would come first.
 */
export class PlimsollExceptionFilter implements ExceptionFilter<PlimsollError> {
  readonly #logger = new Logger(PlimsollExceptionFilter.name);

  catch(error: PlimsollError, host: ArgumentsHost): void {
    // Messages of other transports have no status; their own filters know what to say.
    if (host.getType() !== 'http') throw error;
    const http = host.switchToHttp();
    const request = http.getRequest<IncomingMessage | { readonly raw: IncomingMessage }>();
    const arrival = arrivalOf('raw' in request ? request.raw : request);
    if (arrival !== undefined) arrival.error = error;
    const problem = problemOf(error, arrival?.context.correlationId ?? '');
    // The client is not told what went wrong inside.
    if (problem.status === 503) this.#logger.warn(error.message);
    else if (problem.status >= 500) this.#logger.error(error.message, error.stack);

    const response = http.getResponse<ServerResponse | FastifyReply>();
    if (response instanceof ServerResponse) {
      answerProblem(response, problem, error);
      return;
    }
    if (response.sent) return;
    const retryAfter = retryAfterSeconds(problem, error);
    if (retryAfter !== undefined) void response.header('retry-after', String(retryAfter));
    void response.code(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  }
}
Catch(ErrorWithCode)(PlimsollExceptionFilter);
