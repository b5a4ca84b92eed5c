import { sql } from 'plimsoll';
import type { Sql } from 'plimsoll/database';

/** A statement whose text comes from the server's own catalog or statistics. Never for text of a user. */
export const rawSql = (text: string): Sql => sql(Object.assign([text], { raw: [text] }));

export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
