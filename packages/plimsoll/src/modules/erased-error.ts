import { sql, type Sql } from '../database/sql.ts';

/** What is left of the last error of a task whose data was erased: its message may have quoted that. */
export function erasedError(error: Sql): Sql {
  return sql`case when ${error} is not null then jsonb_strip_nulls(jsonb_build_object(
    'message', 'erased with the personal data of its subject', 'code', ${error}->'code')) end`;
}
