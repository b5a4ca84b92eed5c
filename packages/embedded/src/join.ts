import { withClient, type Connection } from './client.ts';
import { messageOf } from './errors.ts';
import { until } from './until.ts';

/** However much there is to replay: a standby is given up when it stands still for this long. */
const stalledMs = 15_000;
const joinMs = 600_000;

/** What the log of a standby says when its history is not that of the primary, or the primary's log is gone. */
const hopeless =
  /database system identifier differs|not in this server's history|has already been removed|ahead of the WAL flush position|is behind recovery timeline|forked off current database system timeline/;

/** Up to where a primary has written its log. */
export async function flushedPosition(url: string): Promise<string> {
  const [row] = await withClient(url, (connection) =>
    connection.rows<{ lsn: string }>('select pg_current_wal_flush_lsn() as lsn'),
  );
  return row?.lsn ?? '0/0';
}

export interface Joining {
  readonly url: string;
  readonly upstreamUrl: string;
  /** What the standby has logged since it was started. */
  readonly log: () => string;
}

/**
 * `undefined` once a standby streams and has replayed what its primary had flushed; else why it cannot. Streaming
 * alone says little: a sender that has not got the log any more reports so only after it has begun.
 */
export async function joinProblem({ url, upstreamUrl, log }: Joining): Promise<string | undefined> {
  try {
    const wanted = await flushedPosition(upstreamUrl);
    const verdict = await withClient(url, (connection) => watch(connection, wanted, log));
    return verdict.problem;
  } catch (error) {
    return messageOf(error);
  }
}

function watch(
  connection: Connection,
  wanted: string,
  log: () => string,
): Promise<{ problem: string | undefined }> {
  let place = '';
  let lastMoved = performance.now();
  const look = async (): Promise<{ problem: string | undefined } | undefined> => {
    const line = log()
      .split('\n')
      .find((text) => hopeless.test(text));
    if (line !== undefined) return { problem: line.trim() };
    const [row] = await connection.rows<{ joined: boolean; place: string }>(
      `select pg_last_wal_replay_lsn()::text as place, pg_last_wal_replay_lsn() >= $1::pg_lsn
         and exists (select from pg_stat_wal_receiver where status = 'streaming') as joined`,
      [wanted],
    );
    if (row?.joined === true) return { problem: undefined };
    const now = performance.now();
    if (row !== undefined && row.place !== place) [place, lastMoved] = [row.place, now];
    if (now - lastMoved < stalledMs) return undefined;
    return { problem: `replay stands at ${place} and does not get to ${wanted}` };
  };
  return until(look, {
    timeoutMs: joinMs,
    late: () => new Error(`it had not replayed ${wanted} after ${joinMs / 60_000} minutes`),
  });
}
