import { parseLsn, type Lsn } from '../../kernel/seen.ts';

/** Where a primary stands, as it answers {@link primarySample}. */
export interface PrimaryPosition {
  readonly timeline: number;
  /** What is safe on disk. */
  readonly flushed: Lsn;
  /** What is written at all, brought back to a position that a replica can reach. */
  readonly inserted: Lsn;
}

/** What a standby shows, as it answers {@link replicaSample}. */
export interface ReplicaPosition {
  /** Everything up to here is visible there. Undefined on a server that is no standby. */
  readonly replayed: Lsn | undefined;
  /** Nothing past this was visible there when it was taken; a position to ask of the next server. */
  readonly shown: Lsn;
  /** When its server started, by its own clock; undefined when that was not asked. */
  readonly incarnation: number | undefined;
}

/** One column, null on a standby, which would fail on these functions. It travels with reads and commits: kept cheap. */
export const primaryColumns: string = `case when not pg_is_in_recovery() then concat_ws(' ',
  pg_walfile_name(pg_current_wal_insert_lsn()), pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn()) end as p0`;
/** Only {@link learnEpoch} asks for it: it never changes. */
export const segmentColumn = "pg_size_bytes(current_setting('wal_segment_size'))::text as segment";

/** The received position is asked for after the replayed one: see {@link readReplica}. */
const shownColumns =
  'pg_is_in_recovery() as r0, pg_last_wal_replay_lsn() as r1, pg_last_wal_receive_lsn() as r2';
export const replicaColumns: string = `${shownColumns}, extract(epoch from pg_postmaster_start_time()) as r3`;

export const primarySample: string = `select ${primaryColumns}`;
export const replicaSample: string = `select ${replicaColumns}`;
/** On a connection of which it is known which incarnation it goes to. */
export const shownSample: string = `select ${shownColumns}`;

/** Values of a row in the order of its columns, whether `pg` made it an array or an object. */
export function columnsOf(row: unknown): readonly unknown[] {
  if (Array.isArray(row)) return row as readonly unknown[];
  return typeof row === 'object' && row !== null ? Object.values(row) : [];
}

/** Undefined when the server is a standby. */
export function readPrimary(row: unknown, segmentBytes: bigint | undefined): PrimaryPosition | undefined {
  const [told] = columnsOf(row);
  if (typeof told !== 'string') return undefined;
  const [walFile = '', flushed = '', inserted = ''] = told.split(' ');
  const [safe, at] = [parseLsn(flushed), parseLsn(inserted)];
  if (safe === undefined || at === undefined) return undefined;
  return {
    timeline: Number.parseInt(walFile.slice(0, 8), 16),
    flushed: safe,
    inserted: reachable(at, segmentBytes),
  };
}

/**
 * A standby makes a commit visible a moment before it moves the position that it reports, so a read may have
 * shown the record behind that position. When more has been received than replayed there is such a record, and
 * whoever is to have it must be past the reported position.
 */
export function readReplica(row: unknown): ReplicaPosition {
  const [standby, replayedText, receivedText, started] = columnsOf(row);
  const replayed = typeof replayedText === 'string' ? parseLsn(replayedText) : undefined;
  const received = typeof receivedText === 'string' ? parseLsn(receivedText) : undefined;
  const at = replayed ?? 0n;
  return {
    // Parsers of a query builder may leave it as text. A promoted server goes on to tell where it stopped.
    replayed: standby === true || standby === 't' ? replayed : undefined,
    shown: received !== undefined && received > at ? at + 1n : at,
    incarnation: started === undefined ? undefined : Math.round(Number(started) * 1_000_000),
  };
}

const pageBytes = 8_192n;
const pageHeaderBytes = 24n;
/** Of the first page of a segment. */
const longHeaderBytes = 40n;
/**
 * The insert position skips the header of the page that it comes to before anything is written there, and no
 * replica reaches that until something is. No record ends within a header, so the start of the page means the same.
 * Right behind the header one may: the end of a record that began on the page before.
 */
export function reachable(position: Lsn, segmentBytes: bigint | undefined): Lsn {
  const inPage = position % pageBytes;
  const pageStart = position - inPage;
  const first = segmentBytes !== undefined && pageStart % segmentBytes === 0n;
  const header = first ? longHeaderBytes : pageHeaderBytes;
  return inPage <= header ? pageStart : position;
}
