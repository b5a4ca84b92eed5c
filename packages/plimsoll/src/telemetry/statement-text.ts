const maxTextLength = 2_000;

/** Statements may be megabytes long. A copy, because a slice would keep the whole of it in memory. */
export function beginningOf(text: string): string {
  if (text.length <= maxTextLength) return text;
  return Buffer.from(`${text.slice(0, maxTextLength)}…`).toString();
}

const verbs = new Set(
  'SELECT INSERT UPDATE DELETE WITH MERGE BEGIN COMMIT ROLLBACK CREATE ALTER DROP CALL COPY SET TRUNCATE LISTEN NOTIFY VALUES'.split(
    ' ',
  ),
);

/** What a statement does, as `db.operation.name`; of a bounded set, so that it can be a label. */
export function statementVerb(text: string): string {
  const word = /^\s*([a-z]+)/i.exec(text)?.[1]?.toUpperCase() ?? '';
  return verbs.has(word) ? word : 'OTHER';
}
