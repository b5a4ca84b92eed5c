import type { ServerResponse } from 'node:http';
import { retryAfterSeconds, type ProblemDetails } from '../gateway/problem.ts';

export function answerProblem(response: ServerResponse, problem: ProblemDetails, error?: unknown): void {
  const retryAfter = retryAfterSeconds(problem, error);
  if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter));
  answer(response, problem.status, 'application/problem+json', problem);
}

export function answer(response: ServerResponse, status: number, type: string, body: unknown): void {
  // The client has gone, or a handler of the user has answered.
  if (response.destroyed || response.headersSent) return;
  response.statusCode = status;
  if (body === undefined) {
    response.end();
    return;
  }
  response.setHeader('content-type', type);
  response.end(JSON.stringify(body));
}
