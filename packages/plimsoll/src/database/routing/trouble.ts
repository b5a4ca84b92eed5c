import { isPlimsollError } from '../../kernel/errors.ts';
import { isConnectionFailure, sqlState } from '../failures.ts';

/** The answer came from another incarnation of the server than the one that was chosen, or from no standby. */
export class StaleRead extends Error {
  override readonly name = 'StaleRead';
}

/**
 * What a failure on a replica means. `elsewhere`: another server may do better. `primary`: what is missing may not have
 * been replayed yet. `own`: the statement's own failure, which it has everywhere.
 */
export type Trouble = 'elsewhere' | 'primary' | 'own';

/** A conflict with replay; a deadlock with it; and a server that goes, comes or is full. */
const elsewhere = new Set(['40001', '40P01', '53300']);
/** A column, table, function, type or schema that is not there; and a database. */
const notReplayedYet = new Set(['42703', '42P01', '42883', '42704', '3F000', '3D000']);

/**
 * A write that the server refuses (25006) is the statement's own failure: sessions for reading refuse it on every
 * server, so asking elsewhere would only cost more.
 */
export function troubleOf(error: unknown): Trouble {
  if (error instanceof StaleRead) return 'elsewhere';
  if (isPlimsollError(error, 'PL_DATABASE_UNAVAILABLE')) return 'elsewhere';
  const state = sqlState(error) ?? '';
  if (elsewhere.has(state) || isConnectionFailure(error)) return 'elsewhere';
  return notReplayedYet.has(state) ? 'primary' : 'own';
}

/** The server does not take connections; a single backend that was terminated says nothing of the others. */
export function isRefused(error: unknown): boolean {
  const state = sqlState(error) ?? '';
  return state === 'ECONNREFUSED' || state === '57P03' || state === '57P02';
}
