import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import { LoadError } from './load-error.ts';
import type { PlannedRequest, Scenario } from './scenario.ts';

/** Enough to see every operation of a usual mix once. */
const mostRequests = 40;

/**
 * Sends the first sessions one request at a time. Load on a target that is down, or on an error page,
 * would measure nothing: both end the run here, with what the target said.
 * Returns the number of sessions used, for the run to go on after them.
 */
export async function preflight(
  origin: string,
  scenario: Scenario,
  options: { readonly random: () => number; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<number> {
  const { timeoutMs, random, signal } = options;
  const pool = new Pool(origin, { connections: 1, headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
  const failures = new Map<string, string>();
  const answered = new Set<string>();
  let sent = 0;
  let sessions = 0;
  try {
    while (sent < mostRequests && !signal.aborted) {
      const session = scenario.session(sessions, random);
      sessions += 1;
      for (const request of session) {
        sent += 1;
        const problem = await tryOnce(pool, origin, request, signal);
        if (problem === undefined) answered.add(request.operation);
        else failures.set(request.operation, problem);
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await pool.destroy();
  }
  const broken = [...failures].filter(([operation]) => !answered.has(operation));
  if (broken.length > 0) {
    const lines = broken.map(([operation, problem]) => `- ${operation}: ${problem}`);
    throw new LoadError(
      'PL_LOAD_PREFLIGHT',
      `${origin} answers with errors before any load:\n${lines.join('\n')}\nFix the scenario or the target; a status that is a right answer can be listed in the request's accepts.`,
    );
  }
  return sessions;
}

async function tryOnce(
  pool: Dispatcher,
  origin: string,
  request: PlannedRequest,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { method, path, body, headers, accepts } = request;
  const given = body === undefined ? {} : { body };
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  try {
    const response = await pool.request({ method, path, ...given, headers: { ...type, ...headers }, signal });
    const text = await response.body.text();
    if (response.statusCode < 400 || accepts?.includes(response.statusCode) === true) return undefined;
    return `${method} ${path} answered ${response.statusCode} ${text.slice(0, 200)}`.trimEnd();
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new LoadError(
      'PL_LOAD_UNREACHABLE',
      `No answer from ${origin} to ${method} ${path}: ${cause instanceof Error ? describe(cause) : String(cause)}. Start the system first, or correct target.`,
      { cause },
    );
  }
}

/** A refused connection to `localhost` is an AggregateError with an empty message and a code. */
function describe(error: Error): string {
  return error.message !== '' ? error.message : 'code' in error ? String(error.code) : error.name;
}
