import { parseLsn, type Lsn } from '../../kernel/seen.ts';

/** Where a primary stands, as it answers {@link primarySample}. */
export interface PrimaryPosition {
  readonly timeline: number;
  /** What is safe on disk. */
  readonly flushed: Lsn;
  /** What is written at all, brought back to a position that a replica can reach. */
  readonly inserted: Lsn;
  /** When its server started, in microseconds of its own clock. */
  readonly incarnation: number;
}

/** What a standby shows, as it answers {@link replicaSample}. */
export interface ReplicaPosition {
  /** Everything up to here is visible there. Undefined on a server that is no standby. */
  readonly replayed: Lsn | undefined;
  /** Nothing past this was visible there when it was taken; a position to ask of the next server. */
  readonly shown: Lsn;
  readonly incarnation: number;
}

const started = '(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text';
const unlessStandby = (expression: string): string =>
  `case when not pg_is_in_recovery() then ${expression} end`;

/** Columns of one row; null on a standby, which would fail on these functions. */
export const primaryColumns: string = [
  unlessStandby('pg_walfile_name(pg_current_wal_insert_lsn())'),
  unlessStandby('pg_current_wal_flush_lsn()::text'),
  unlessStandby('pg_current_wal_insert_lsn()::text'),
  started,
  "pg_size_bytes(current_setting('wal_segment_size'))::text",
]
  .map((expression, index) => `${expression} as p${index}`)
  .join(', ');

/** The received position is asked for after the replayed one: see {@link readReplica}. */
export const replicaColumns: string = [
  'case when pg_is_in_recovery() then pg_last_wal_replay_lsn()::text end',
  'case when pg_is_in_recovery() then pg_last_wal_receive_lsn()::text end',
  started,
]
  .map((expression, index) => `${expression} as r${index}`)
  .join(', ');

export const primarySample: string = `select ${primaryColumns}`;
export const replicaSample: string = `select ${replicaColumns}`;

/** Values of a row in the order of its columns, whether `pg` made it an array or an object. */
export function columnsOf(row: unknown): readonly unknown[] {
  if (Array.isArray(row)) return row as readonly unknown[];
  return typeof row === 'object' && row !== null ? Object.values(row) : [];
}

/** Undefined when the server is a standby. */
export function readPrimary(row: unknown): PrimaryPosition | undefined {
  const [walFile, flushed, inserted, incarnation, segmentBytes] = columnsOf(row);
  if (typeof walFile !== 'string') return undefined;
  const at = parseLsn(String(inserted));
  const safe = parseLsn(String(flushed));
  if (at === undefined || safe === undefined) return undefined;
  return {
    timeline: Number.parseInt(walFile.slice(0, 8), 16),
    flushed: safe,
    inserted: reachable(at, BigInt(String(segmentBytes))),
    incarnation: Number(incarnation),
  };
}

/**
 * A standby makes a commit visible a moment before it moves the position that it reports, so a read may have
 * shown the record behind that position. When more has been received than replayed there is such a record, and
 * whoever is to have it must be past the reported position.
 */
export function readReplica(row: unknown): ReplicaPosition {
  const [replayedText, receivedText, incarnation] = columnsOf(row);
  const replayed = typeof replayedText === 'string' ? parseLsn(replayedText) : undefined;
  const received = typeof receivedText === 'string' ? parseLsn(receivedText) : undefined;
  const at = replayed ?? 0n;
  return {
    replayed,
    shown: received !== undefined && received > at ? at + 1n : at,
    incarnation: Number(incarnation),
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
export function reachable(position: Lsn, segmentBytes: bigint): Lsn {
  const inPage = position % pageBytes;
  const pageStart = position - inPage;
  const header = pageStart % segmentBytes === 0n ? longHeaderBytes : pageHeaderBytes;
  return inPage <= header ? pageStart : position;
}
