import pg from 'pg';

/** What `pg` holds and its types leave out. */
interface WireConnection {
  parse(message: { readonly text: string; readonly name: string }): void;
  bind(message: {
    readonly portal: string;
    readonly statement: string;
    readonly values: readonly unknown[];
  }): void;
  describe(message: { readonly type: 'P'; readonly name: string }): void;
  execute(message: { readonly portal: string }): void;
  sync(): void;
}
interface DriverQuery {
  callback: (error: Error | null, results: pg.QueryResult | pg.QueryResult[]) => void;
  prepare(connection: WireConnection): void;
  _getRows(connection: WireConnection): void;
  handleCommandComplete(message: { readonly text: string }, connection: unknown): void;
  hasBeenParsed(connection: WireConnection): boolean;
}

export interface Flight extends pg.QueryConfig {
  readonly text: string;
  /** Statements in front of it. */
  readonly before?: readonly string[];
  /** Statements behind it. */
  readonly after?: readonly string[];
}

/**
 * Sends several statements in one message, or in one batch of the extended protocol when the middle one has values:
 * one round trip, on one server connection, whatever pooler is between. Unless they say otherwise they are one
 * transaction, in which each sees what was committed when it began. Answers with the result of each.
 *
 * `onComplete` gets the tag of each statement as it completes, so that what happened before a failure is known.
 */
export function sendFlight(
  client: pg.ClientBase,
  flight: Flight,
  onComplete?: (tag: string) => void,
): Promise<pg.QueryResult[]> {
  const { before = [], after = [], text, values = [], ...config } = flight;
  const batch = values.length > 0;
  const query = new pg.Query({
    ...config,
    text: batch ? text : [...before, text, ...after].join('\n;'),
    values: batch ? values : [],
  });
  const driven = query as unknown as DriverQuery;
  if (batch) {
    const prepare = driven.prepare.bind(query);
    driven.prepare = (connection) => {
      for (const each of before) push(connection, each);
      prepare(connection);
    };
    driven._getRows = (connection) => {
      connection.execute({ portal: '' });
      for (const each of after) push(connection, each);
      connection.sync();
    };
  }
  if (onComplete !== undefined) {
    const complete = driven.handleCommandComplete.bind(query);
    driven.handleCommandComplete = (message, connection) => {
      onComplete(message.text);
      complete(message, connection);
    };
  }
  const { promise, resolve, reject } = Promise.withResolvers<pg.QueryResult[]>();
  driven.callback = (error, results) => {
    if (error === null) resolve(Array.isArray(results) ? results : [results]);
    else reject(error);
  };
  client.query(query);
  return promise;
}

/**
 * Sends a statement that is the same as the one before on this connection, which the server keeps parsed and planned
 * until the next one: only its values. Both must have values.
 */
export function sendAgain<R extends pg.QueryResultRow>(
  client: pg.ClientBase,
  text: string,
  values: readonly unknown[],
): Promise<pg.QueryResult<R>> {
  const query = new pg.Query({ text, values: [...values] });
  const driven = query as unknown as DriverQuery;
  driven.hasBeenParsed = () => true;
  const { promise, resolve, reject } = Promise.withResolvers<pg.QueryResult<R>>();
  driven.callback = (error, result) => {
    if (error === null) resolve(result as pg.QueryResult<R>);
    else reject(error);
  };
  client.query(query);
  return promise;
}

function push(connection: WireConnection, text: string): void {
  connection.parse({ text, name: '' });
  connection.bind({ portal: '', statement: '', values: [] });
  connection.describe({ type: 'P', name: '' });
  connection.execute({ portal: '' });
}
