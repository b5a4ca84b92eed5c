/**
 * Every error Plimsoll throws on purpose carries one of these codes. The table is the single source: the
 * page `docs/errors.md` and the type {@link ErrorCode} are held equal to it by a test.
 *
 * `status` is the HTTP status the gateway answers with; `retryable` says whether the same call may succeed
 * later without a change by the caller.
 */
export const errorTable = {
  PL_CONFIG: {
    status: 500,
    retryable: false,
    summary: 'The plan or an option is not valid; every problem is listed.',
  },
  PL_INPUT_INVALID: {
    status: 400,
    retryable: false,
    summary: 'The input does not match the schema of the operation.',
  },
  PL_OUTPUT_INVALID: {
    status: 500,
    retryable: false,
    summary: 'A handler returned a value that does not match its schema.',
  },
  PL_PAYLOAD_INVALID: {
    status: 500,
    retryable: false,
    summary:
      'An event, a job or a declared error carries a value that does not match its schema, or a value that goes to another module is not JSON.',
  },
  PL_EVENT_VERSION: {
    status: 500,
    retryable: true,
    summary: 'An event was written by a version of its contract that this process cannot read.',
  },
  PL_SUBSCRIPTION_UNKNOWN: {
    status: 404,
    retryable: false,
    summary: 'No subscription of this name is recorded in the database.',
  },
  PL_EVENTS_BEHIND: {
    status: 503,
    retryable: true,
    summary: 'An event is not taken, because more of its kind wait than the plan allows.',
  },
  PL_REPLAY_REFUSED: {
    status: 409,
    retryable: false,
    summary: 'Events cannot be brought to this subscription again, or there is no such replay.',
  },
  PL_EXTERNAL_BUSY: {
    status: 503,
    retryable: true,
    summary: 'The same outside effect is under way elsewhere, or was a moment ago.',
  },
  PL_IDEMPOTENCY_KEY: {
    status: 400,
    retryable: false,
    summary: 'The `Idempotency-Key` is missing where it is required, or cannot be read.',
  },
  PL_IDEMPOTENCY_BUSY: {
    status: 409,
    retryable: true,
    summary: 'The same work under the same key is under way.',
  },
  PL_IDEMPOTENCY_REUSED: {
    status: 422,
    retryable: false,
    summary: 'The key was used for the same work with another input.',
  },
  PL_IDEMPOTENCY_NOT_KEPT: {
    status: 410,
    retryable: false,
    summary:
      "The work was done under this key, and its answer is not kept: too large, or erased with a person's data.",
  },
  PL_WEBHOOK_REFUSED: {
    status: 401,
    retryable: false,
    summary: 'A webhook message is not of its provider, or is too old.',
  },
  PL_SCHEMA_ASYNC: {
    status: 500,
    retryable: false,
    summary: 'A schema validates asynchronously where only synchronous validation is possible.',
  },
  PL_UNKNOWN_OPERATION: {
    status: 500,
    retryable: false,
    summary: 'The operation belongs to no module of this app.',
  },
  PL_USES_UNDECLARED: {
    status: 500,
    retryable: false,
    summary: 'A module called, enqueued or subscribed to a contract that it does not list in `uses`.',
  },
  PL_FOREIGN_EVENT: {
    status: 500,
    retryable: false,
    summary: 'A module emitted an event of another contract.',
  },
  PL_FOREIGN_TABLE: {
    status: 500,
    retryable: false,
    summary: 'A statement of a module touches a table that the module does not own.',
  },
  PL_UNDECLARED_ERROR: {
    status: 500,
    retryable: false,
    summary: 'A handler failed with an error that its contract does not declare.',
  },
  PL_CALL_IN_TRANSACTION: {
    status: 500,
    retryable: false,
    summary: 'A handler called another operation while its transaction was open.',
  },
  PL_HANDLER_ENDED: {
    status: 500,
    retryable: false,
    summary: 'A handler used its context after it had returned.',
  },
  PL_DEADLINE: { status: 504, retryable: true, summary: 'The deadline passed before the work was done.' },
  PL_ABORTED: { status: 499, retryable: false, summary: 'The caller went away or cancelled.' },
  PL_OVERLOADED: {
    status: 503,
    retryable: true,
    summary: 'As much work is under way as the process, or what it calls, can take.',
  },
  PL_TIMEOUT: {
    status: 504,
    retryable: true,
    summary: 'A call took longer than it may; its work may or may not have been done.',
  },
  PL_BREAKER_OPEN: {
    status: 503,
    retryable: true,
    summary: 'Calls are refused for a while because too many before them failed.',
  },
  PL_BULKHEAD_FULL: {
    status: 503,
    retryable: true,
    summary: 'As many calls are under way as are allowed at once, and no more may wait.',
  },
  PL_QUEUE_FULL: {
    status: 503,
    retryable: true,
    summary: 'A bounded queue takes no more, or gave up what had waited too long.',
  },
  PL_RATE_LIMITED: {
    status: 429,
    retryable: true,
    summary: 'More was asked for than the rate allows; `Retry-After` says when to come again.',
  },
  PL_CACHE_CALLER: {
    status: 500,
    retryable: false,
    summary: 'A cached query read of its caller what is not in its key.',
  },
  PL_MISSED_INVALIDATION: {
    status: 500,
    retryable: false,
    summary: 'A command wrote a table that a cached query reads, and invalidated none of its tags.',
  },
  PL_CACHE_BEHIND: {
    status: 503,
    retryable: true,
    summary: 'What was loaded for a cache is older than what its reader has written.',
  },
  PL_CACHE_LOAD_FAILED: {
    status: 503,
    retryable: true,
    summary: 'Another process could not load this for a cache a moment ago, and it is not tried again yet.',
  },
  PL_DRAINING: {
    status: 503,
    retryable: true,
    summary: 'The process is shutting down and takes no new work.',
  },
  PL_NOT_FOUND: { status: 404, retryable: false, summary: 'No route answers this method and path.' },
  PL_BAD_REQUEST: { status: 400, retryable: false, summary: 'The HTTP request cannot be read.' },
  PL_BODY_TOO_LARGE: { status: 413, retryable: false, summary: 'The request body is larger than the limit.' },
  PL_UNSUPPORTED_MEDIA: { status: 415, retryable: false, summary: 'The request body is not JSON.' },
  PL_METHOD_NOT_ALLOWED: {
    status: 405,
    retryable: false,
    summary: 'The path exists, but not with this method; `Allow` lists those it has.',
  },
  PL_HEADERS_TOO_LARGE: {
    status: 431,
    retryable: false,
    summary: 'The request has more header fields than the limit.',
  },
  PL_UNAUTHENTICATED: { status: 401, retryable: false, summary: 'The request needs a caller who is known.' },
  PL_JOB_UNKNOWN: {
    status: 404,
    retryable: false,
    summary: 'No job of this id was accepted, or its receipt was deleted.',
  },
  PL_NETWORK: {
    status: 502,
    retryable: false,
    summary:
      'The server could not be reached, or its answer was lost; the work may or may not have been done.',
  },
  PL_REMOTE_FAILED: {
    status: 502,
    retryable: false,
    summary: 'The server answered that it failed or cannot now, or with something that cannot be read.',
  },
  PL_POOL_TIMEOUT: { status: 503, retryable: true, summary: 'No database connection became free in time.' },
  PL_DATABASE_UNAVAILABLE: {
    status: 503,
    retryable: true,
    summary: 'The database cannot be reached or is shutting down.',
  },
  PL_STATEMENT_TIMEOUT: {
    status: 503,
    retryable: true,
    summary: 'A statement ran longer than its time limit.',
  },
  PL_SERIALIZATION: {
    status: 503,
    retryable: true,
    summary: 'The database rolled the transaction back because of a concurrent one.',
  },
  PL_ROW_COUNT: {
    status: 500,
    retryable: false,
    summary: 'A statement that must return exactly one row returned another number.',
  },
  PL_INT8_UNSAFE: {
    status: 500,
    retryable: false,
    summary: 'An int8 value does not fit a JavaScript number without loss.',
  },
  PL_SQL_VALUE: {
    status: 500,
    retryable: false,
    summary: 'A value given to the `sql` tag cannot be a parameter or an identifier.',
  },
  PL_TRANSACTION_ENDED: {
    status: 500,
    retryable: false,
    summary: 'A transaction was used after its function had returned.',
  },
  PL_TRANSACTION_ABORTED: {
    status: 500,
    retryable: false,
    summary: 'COMMIT was answered with ROLLBACK because an earlier statement had failed.',
  },
  PL_NO_TRANSACTION: {
    status: 500,
    retryable: false,
    summary: 'What must commit with a transaction was given a client that has none open.',
  },
  PL_UNSUPPORTED: {
    status: 500,
    retryable: false,
    summary: 'An adapter cannot do what was asked; the message says what to use instead.',
  },
  PL_COMMIT_UNKNOWN: {
    status: 503,
    retryable: false,
    summary: 'The connection broke during COMMIT; the transaction may or may not have been committed.',
  },
  PL_MIGRATION_INVALID: {
    status: 500,
    retryable: false,
    summary: 'The migration files of a component are not numbered 001, 002, … without gaps.',
  },
  PL_MIGRATION_CHANGED: {
    status: 500,
    retryable: false,
    summary: 'A migration that was already applied has another content now.',
  },
  PL_MIGRATION_FAILED: { status: 500, retryable: false, summary: 'A migration failed and was rolled back.' },
  PL_JOB_FAILED: {
    status: 500,
    retryable: true,
    summary:
      'The command of a job ended with a declared error; nobody is there to handle it, so the job is tried again.',
  },
  PL_SAGA_DIVERGED: {
    status: 500,
    retryable: false,
    summary: 'The code of a saga asks for something else than its history has.',
  },
  PL_SAGA_STUCK: {
    status: 500,
    retryable: false,
    summary: 'A saga cannot go on by itself, and waits for a decision by hand.',
  },
  PL_SAGA_UNDO_FAILED: {
    status: 500,
    retryable: true,
    summary: 'A compensation ended with a declared error; it is tried again.',
  },
  PL_SAGA_UNKNOWN: { status: 404, retryable: false, summary: 'There is no saga of this id.' },
  PL_SAGA_STATE: {
    status: 409,
    retryable: false,
    summary: 'What was asked of a saga does not fit the state that it is in.',
  },
  PL_TASK_LOST: {
    status: 500,
    retryable: false,
    summary: 'A task was taken over by another worker; its effects here were rolled back.',
  },
  PL_VIEW_LATE: {
    status: 503,
    retryable: true,
    summary: 'A view did not show in time what its reader had written.',
  },
  PL_VIEW_USE: {
    status: 500,
    retryable: false,
    summary: 'A statement reads a view that its query does not list in `reads`, or writes to one.',
  },
  PL_VIEW_VALUE: {
    status: 500,
    retryable: false,
    summary: 'The fold of a view gave a key or a state that does not fit its columns.',
  },
  PL_VIEW_HISTORY: {
    status: 500,
    retryable: false,
    summary: 'The log no longer has the events that a view still needs.',
  },
  PL_VIEW_UNKNOWN: { status: 500, retryable: false, summary: 'There is no view of this name.' },
  PL_LIFECYCLE: {
    status: 500,
    retryable: false,
    summary: 'A start or a stop did not succeed, or an operation needs a running app.',
  },
} as const satisfies Record<string, { status: number; retryable: boolean; summary: string }>;

export type ErrorCode = keyof typeof errorTable;

export interface PlimsollErrorOptions {
  readonly cause?: unknown;
  /** Facts for programs: ids, values, limits. Must be JSON. Never secrets: the gateway shows it for 4xx. */
  readonly data?: Readonly<Record<string, unknown>>;
}

export class PlimsollError extends Error {
  override readonly name: string = 'PlimsollError';
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>>;

  /** `message` says what failed, the value and where it came from, what is allowed, what to do. */
  constructor(code: ErrorCode, message: string, options: PlimsollErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.data = options.data ?? {};
  }

  /** HTTP status of the code. */
  get status(): number {
    return errorTable[this.code].status;
  }

  /** Whether the same call may succeed later unchanged. */
  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

/** True for an error of Plimsoll, with `code` if given. Compares the code, so it works across copies of the package. */
export function isPlimsollError(error: unknown, code?: ErrorCode): error is PlimsollError {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    Object.hasOwn(errorTable, error.code) &&
    (code === undefined || error.code === code)
  );
}

/** One problem of a configuration: where it is and what to do. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** Throws PL_CONFIG naming every problem at once; does nothing when there is none. */
export function throwIfProblems(what: string, problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const list = problems.map((problem) => `  ${problem.path}: ${problem.message}`).join('\n');
  const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
  throw new PlimsollError('PL_CONFIG', `${what} has ${count}:\n${list}`, { data: { problems } });
}
