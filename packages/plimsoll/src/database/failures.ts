import { PlimsollError } from '../kernel/errors.ts';

/** What `pg` and PostgreSQL tell about a failure; both put it on the error object. */
export interface PgFailure extends Error {
  /** SQLSTATE, or a Node code such as ECONNREFUSED. */
  readonly code?: string;
  readonly constraint?: string;
  readonly table?: string;
  readonly schema?: string;
  readonly detail?: string;
}

const connectionCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  // The socket file of a server that is down.
  'ENOENT',
]);
const connectionMessages =
  /connection terminated|connection error|connection ended|client was closed|not queryable|timeout expired|after calling end on the pool/i;

/** True when the connection is gone: SQLSTATE class 08, 57P01..57P05, or the socket failed. */
export function isConnectionFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as PgFailure).code ?? '';
  return (
    code.startsWith('08') ||
    code.startsWith('57P0') ||
    connectionCodes.has(code) ||
    connectionMessages.test(error.message)
  );
}

/** True when `pg` knew already that the connection was gone, and so sent nothing. */
export function wasNeverSent(error: unknown): boolean {
  return error instanceof Error && /not queryable/i.test(error.message);
}

/**
 * Gives infrastructure failures a code of ours; everything else (constraint violations, syntax errors) stays
 * the error of `pg`, whose SQLSTATE callers may want to read.
 */
export function translateFailure(error: unknown, server: string): unknown {
  if (!(error instanceof Error) || error instanceof PlimsollError) return error;
  const code = (error as PgFailure).code ?? '';
  const data = { server, sqlState: code };
  if (code === '57014') {
    return new PlimsollError(
      'PL_STATEMENT_TIMEOUT',
      `${server}: ${error.message}; raise pool.statementTimeoutMs or make the statement cheaper`,
      { cause: error, data },
    );
  }
  if (code === '40001' || code === '40P01') {
    return new PlimsollError(
      'PL_SERIALIZATION',
      `${server}: ${error.message}; run the whole transaction again`,
      { cause: error, data },
    );
  }
  if (code === '53300') {
    return new PlimsollError(
      'PL_DATABASE_UNAVAILABLE',
      `${server}: ${error.message}; the server has no connection slot left, lower pool.max of the processes that share it`,
      { cause: error, data },
    );
  }
  if (isConnectionFailure(error)) {
    return new PlimsollError('PL_DATABASE_UNAVAILABLE', `${server}: ${error.message || code}`, {
      cause: error,
      data,
    });
  }
  return error;
}

/** The SQLSTATE of a failure, also when it was translated, or wrapped by a query builder. */
export function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as PgFailure;
  return code === undefined || error instanceof PlimsollError ? sqlState(error.cause) : code;
}
