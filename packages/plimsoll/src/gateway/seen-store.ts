import { Seen, timelineOf, type Lsn } from '../kernel/seen.ts';

/**
 * Where what several requests of one user have seen is joined, so that tabs, devices and processes share it.
 * {@link seenStoreSuite} holds what each has to do.
 */
export interface SeenStore {
  /** All that was merged under this id; empty when that was nothing, or is forgotten. */
  read(id: string): Promise<Seen>;
  /**
   * Joins: of each database what is of the latest epoch, and of that the highest positions, atomically. Both this and
   * what was there are kept for `ttlMs` from now on at least; that an outcome is unknown, for that long from its last
   * merge.
   */
  merge(id: string, seen: Seen, ttlMs: number): Promise<void>;
}

/** What is kept of one database. Positions are 16 hexadecimal digits, so that as text they have the same order. */
export interface SeenRow {
  /** As JSON: what Unicode or PostgreSQL has no character for is escaped. So are tags. */
  readonly database: string;
  readonly timeline: number;
  readonly epoch: string;
  readonly written: string;
  readonly read: string;
  /** The position of each; null when there were too many. */
  readonly tags: Readonly<Record<string, string>> | null;
  readonly unknown: boolean;
  /** When something was last written; 0 when nothing was. Outlives epochs. */
  readonly wroteAtMs: number;
}

export function rowsOf(seen: Seen): readonly SeenRow[] {
  return [...seen.databases].map((database) => {
    const { epoch, written, read } = seen.mark(database) ?? { epoch: '0.', written: 0n, read: 0n };
    const tags = seen
      .touchedTags(database)
      .map(({ tag, written: at }) => [JSON.stringify(tag), digits(at)] as const);
    return {
      database: JSON.stringify(database),
      timeline: timelineOf(epoch),
      epoch,
      written: digits(written),
      read: digits(read),
      tags: seen.hasDroppedTags(database) ? null : Object.fromEntries(tags),
      unknown: seen.mayHaveWritten(database),
      wroteAtMs: Math.round(seen.wroteAtMs(database) ?? 0),
    };
  });
}

export function seenOf(rows: Iterable<Omit<SeenRow, 'timeline'>>): Seen {
  const seen = new Seen();
  for (const { database, epoch, written, read, tags, unknown, wroteAtMs } of rows) {
    const name = JSON.parse(database) as string;
    const touched = Object.entries(tags ?? {}).map(([tag, at]) => ({
      tag: JSON.parse(tag) as string,
      written: position(at),
    }));
    const mark = { epoch, written: position(written), read: position(read) };
    // Where only the outcome of a commit is unknown, there is no position.
    if (mark.written > 0n || mark.read > 0n) seen.merge(name, mark, touched, tags === null);
    if (unknown) seen.noteUnknown(name);
    if (wroteAtMs > 0) seen.noteWroteAt(name, wroteAtMs);
  }
  return seen;
}

const digits = (lsn: Lsn): string => lsn.toString(16).padStart(16, '0');
const position = (text: string): Lsn => BigInt(`0x${text}`);
