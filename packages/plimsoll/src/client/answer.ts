import { errorTable, PlimsollError, type ErrorCode } from '../kernel/errors.ts';
import type { AnyOperation } from '../modules/contract.ts';

/** The problem details that a gateway answers with. */
interface ReceivedProblem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail?: string;
  readonly code: string;
  readonly correlationId: string;
  readonly data?: unknown;
}

/** What a successful answer holds; undefined for one without content. */
export async function valueOf(response: Response, what: string): Promise<unknown> {
  if (response.status === 204) return undefined;
  const text = await response.text();
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notOurs(response, what, cause);
  }
}

/** The declared error that a problem is, as a value; any other problem is thrown with the server's code. */
export async function failureOf(
  response: Response,
  operation: AnyOperation | undefined,
  what: string,
): Promise<{ readonly ok: false; readonly error: string; readonly data: unknown }> {
  const problem = await problemIn(response);
  if (problem === undefined) throw notOurs(response, what);
  const { code, data } = problem;
  const isDeclared =
    operation?.kind === 'command' &&
    problem.type === `urn:plimsoll:operation:${operation.id}:${code}` &&
    Object.hasOwn(operation.errors as object, code);
  if (isDeclared) return { ok: false, error: code, data };
  const facts = {
    ...(typeof data === 'object' && data !== null && !Array.isArray(data) ? data : {}),
    ...factsOf(response, problem.correlationId),
  };
  const known = Object.hasOwn(errorTable, code) && problem.type === `urn:plimsoll:error:${code}`;
  throw known
    ? new PlimsollError(code as ErrorCode, `${what}: ${problem.detail ?? problem.title}`, { data: facts })
    : new PlimsollError('PL_REMOTE_FAILED', `${what}: the server answered ${response.status} ${code}`, {
        data: { ...facts, code },
      });
}

async function problemIn(response: Response): Promise<ReceivedProblem | undefined> {
  const type = response.headers.get('content-type') ?? '';
  if (!/^application\/problem\+json\b/i.test(type)) {
    // Not read, so it must be let go of for the connection to be free again.
    await response.body?.cancel();
    return undefined;
  }
  try {
    const body = JSON.parse(await response.text()) as Partial<ReceivedProblem> | null;
    const whole =
      typeof body?.code === 'string' && typeof body.type === 'string' && typeof body.title === 'string';
    return whole ? (body as ReceivedProblem) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function notOurs(response: Response, what: string, cause?: unknown): PlimsollError {
  return new PlimsollError(
    'PL_REMOTE_FAILED',
    `${what}: the server answered ${response.status} with something that is not an answer of Plimsoll; is there a proxy in between?`,
    { data: factsOf(response, undefined), ...(cause === undefined ? {} : { cause }) },
  );
}

function factsOf(response: Response, correlationId: unknown): Readonly<Record<string, unknown>> {
  const id = typeof correlationId === 'string' ? correlationId : response.headers.get('x-correlation-id');
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  return {
    status: response.status,
    ...(id === null ? {} : { correlationId: id }),
    ...(retryAfter >= 0 ? { retryAfterMs: retryAfter * 1_000 } : {}),
  };
}
