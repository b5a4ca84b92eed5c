/** The grammar of PostgreSQL itself, as WASM; loading it takes some 20 ms, so only who needs it does. */
export interface SqlParser {
  /** The syntax tree of one or more statements; throws on a syntax error. */
  readonly parse: (text: string) => unknown;
  /** The tree of a `create function … language plpgsql`; its statements are texts in it. */
  readonly parsePlpgsql: (definition: string) => unknown;
}

export async function loadSqlParser(): Promise<SqlParser> {
  const { loadModule, parseSync, parsePlPgSQLSync } = await import('libpg-query');
  await loadModule();
  return { parse: parseSync, parsePlpgsql: parsePlPgSQLSync };
}
