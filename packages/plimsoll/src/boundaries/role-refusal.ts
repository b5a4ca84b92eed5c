import type { PgFailure } from '../database/failures.ts';
import type { Sql } from '../database/sql.ts';
import { PlimsollError } from '../kernel/errors.ts';

/** What PostgreSQL also tells about a failure. */
interface Refusal extends PgFailure {
  /** The function of the server that raised it; unlike the message it is in no language. */
  readonly routine?: string;
  /** The statement inside a function. */
  readonly internalQuery?: string;
  /** The function and its line. */
  readonly where?: string;
}

/**
 * PL_FOREIGN_TABLE when PostgreSQL refused the role; every other failure as it is. The same SQLSTATE also comes
 * from row level security and from functions that raise it, and means something else there.
 */
export function explainRefusal(
  error: unknown,
  { operation, role }: { readonly operation: string; readonly role: string },
  statement: Sql,
): unknown {
  if (!(error instanceof Error)) return error;
  const { code, routine, message, internalQuery, where } = error as Refusal;
  if (code !== '42501' || routine?.startsWith('aclcheck_error') !== true) return error;
  // A refusal inside a function says there which statement it was; its place may tell that again.
  const inside = [internalQuery, where].filter((part) => part !== undefined).map(short);
  const place = inside.length === 0 ? '' : `, in ${inside.join(', ')}`;
  return new PlimsollError(
    'PL_FOREIGN_TABLE',
    `${operation} touches what its module does not own; PostgreSQL says to the role ${JSON.stringify(role)}: ${message}${place}: call the owner, or keep a copy by its events; a table of its own that was made since the start is granted at the next start, and its structure is changed by migrations: ${short(statement.compile().text)}`,
    { cause: error, data: { operation, module: operation.split('.', 1)[0], role } },
  );
}

const short = (text: string): string => text.trim().replaceAll(/\s+/g, ' ').slice(0, 200);
