/** A log position of PostgreSQL (LSN) as a number of bytes. */
export type Lsn = bigint;

/** What a client has seen of one database. */
export interface Mark {
  /**
   * The history that the positions belong to, as `<timeline>.<id>`: positions of two histories say nothing of each
   * other. `<timeline>` grows with each promotion.
   */
  readonly epoch: string;
  /** Of the client's last commit; 0 before the first. */
  readonly written: Lsn;
  /** The highest position that its reads may have shown; 0 before the first. */
  readonly read: Lsn;
}

/** A cache tag that was invalidated, and the last position of that which the client has written or seen. */
export interface TouchedTag {
  readonly tag: string;
  readonly written: Lsn;
}

/** Most tags of one database that are remembered each for itself. */
export const maxTouchedTags = 32;

/** What is kept of one database; changes with what the client does, and never goes back within an epoch. */
interface Progress {
  epoch: string;
  written: Lsn;
  read: Lsn;
  /** Set by a commit whose outcome is not known, until the next position is noted. */
  unknown: boolean;
  /** How often that was noted. */
  unknowns: number;
  /** When the client last wrote, by the wall clock of the process that did it; outlives epochs. */
  wroteAtMs: number | undefined;
  /** Newest last. Emptied when there are too many. */
  tags: Map<string, Lsn>;
  /** Set when tags were dropped: any tag may then have been touched by any write. */
  tagsDropped: boolean;
}

/** Whoever has put off asking for positions, because most are never needed. */
export interface PositionSource {
  /** Whether a position is still to be taken. */
  owes(seen: Seen): boolean;
  /** Takes it; rejects, or leaves it as it is, when the database does not answer. */
  settle(seen: Seen): Promise<void>;
}

/**
 * The causality token: what one client has seen of each database. All hops of a request share one, so what one of them
 * writes the next one reads. It only grows: merging in any order, and more than once, gives the same.
 *
 * Marks of a later timeline replace those of an earlier one. Nothing is lost: whatever of the earlier history survived
 * a promotion is below every position of the later one.
 */
export class Seen {
  /** Made with the first mark: most requests end without one. */
  #databases: Map<string, Progress> | undefined;
  /** By database; made with the first position that is put off. */
  #sources: Map<string, PositionSource> | undefined;
  /** By database: writes that were sent and have not been answered. Made with the first. */
  #underWay: Map<string, number> | undefined;
  /** Set where what the client had seen before could not be asked for. */
  #unsure = false;

  /** Whether nothing has been seen of any database. */
  get isEmpty(): boolean {
    return this.#databases === undefined && this.#underWay === undefined;
  }

  /** Whether anything was written, or may have been. */
  get hasWritten(): boolean {
    if (this.#underWay !== undefined) return true;
    for (const { written, unknown, unknowns } of this.#databases?.values() ?? [])
      if ((unknown && unknowns > 0) || written > 0n) return true;
    return false;
  }

  get databases(): Iterable<string> {
    if (this.#underWay !== undefined)
      return new Set([...(this.#databases?.keys() ?? []), ...this.#underWay.keys()]);
    return this.#databases?.keys() ?? [];
  }

  /** Whether a position is still to be taken; see {@link settle}. */
  get owes(): boolean {
    if (this.#sources === undefined) return false;
    for (const source of this.#sources.values()) if (source.owes(this)) return true;
    return false;
  }

  /** Undefined when nothing of the database has been seen. */
  mark(database: string): Mark | undefined {
    return this.#databases?.get(database);
  }

  /** Whether a commit may have happened of which no position is known: only the primary is sure to show it. */
  isUnknown(database: string): boolean {
    return this.#databases?.get(database)?.unknown ?? this.#unsure;
  }

  /** The same of what this client itself has done, writes that are under way included. */
  mayHaveWritten(database: string): boolean {
    if (this.#underWay?.has(database) === true) return true;
    const progress = this.#databases?.get(database);
    return progress !== undefined && progress.unknown && progress.unknowns > 0;
  }

  /** How often the outcome of a commit was noted as unknown. */
  unknowns(database: string): number {
    return (this.#databases?.get(database)?.unknowns ?? 0) + (this.#underWay?.get(database) ?? 0);
  }

  /** When the client last wrote, by the wall clock of the process where it did; undefined when it has not. */
  wroteAtMs(database: string): number | undefined {
    if (this.#underWay?.has(database) === true) return Date.now();
    return this.#databases?.get(database)?.wroteAtMs;
  }

  touchedTags(database: string): readonly TouchedTag[] {
    const tags = this.#databases?.get(database)?.tags ?? [];
    return [...tags].map(([tag, written]) => ({ tag, written }));
  }

  /** Whether more tags were touched than are remembered. */
  hasDroppedTags(database: string): boolean {
    return this.#databases?.get(database)?.tagsDropped ?? false;
  }

  /** The position that whatever carries one of these tags must not be older than; 0 when none was touched. */
  tagFloor(database: string, tags: Iterable<string>): Lsn {
    const progress = this.#databases?.get(database);
    if (progress === undefined) return 0n;
    if (progress.tagsDropped) return progress.written;
    let floor = 0n;
    for (const tag of tags) floor = later(floor, progress.tags.get(tag) ?? 0n);
    return floor;
  }

  /** After a commit, and never before: until then another position may be the commit's. */
  noteWritten(database: string, epoch: string, written: Lsn, tags: Iterable<string> = []): void {
    this.merge(database, { epoch, written, read: 0n });
    const progress = this.#databases?.get(database);
    if (progress?.epoch !== epoch) return;
    progress.unknown = false;
    for (const tag of tags) touch(progress, tag, written);
  }

  /** After a read: a position taken before may be below what it showed. */
  noteRead(database: string, epoch: string, read: Lsn): void {
    this.merge(database, { epoch, written: 0n, read });
  }

  /** What was shown carries these tags, and other processes may still have what was there before them. */
  noteShown(database: string, epoch: string, tags: readonly TouchedTag[]): void {
    const read = tags.reduce((latest, { written }) => later(latest, written), 0n);
    this.merge(database, { epoch, written: 0n, read }, tags);
  }

  /** The outcome of a commit is not known. */
  noteUnknown(database: string): void {
    const progress = this.#databases?.get(database) ?? this.#replace(database, '0.');
    progress.unknown = true;
    progress.unknowns += 1;
  }

  /** The client may have written then. */
  noteWroteAt(database: string, atMs: number): void {
    const progress = this.#databases?.get(database) ?? this.#replace(database, '0.');
    progress.wroteAtMs = Math.max(progress.wroteAtMs ?? 0, atMs);
  }

  /**
   * What was seen before, of one database or of all, could not be asked for: until a position of a write is noted, only
   * the primary is sure to show it. Says nothing of what this client has done, so it is not told to others.
   */
  noteUnsure(database?: string): void {
    if (database !== undefined) {
      (this.#databases?.get(database) ?? this.#replace(database, '0.')).unknown = true;
      return;
    }
    this.#unsure = true;
    for (const progress of this.#databases?.values() ?? []) progress.unknown = true;
  }

  /**
   * A write is sent. Until the returned function is called, whoever is told what this client has seen is told that its
   * outcome is not known: an answer may leave before that of the database is there.
   */
  beginWrite(database: string): () => void {
    const underWay = (this.#underWay ??= new Map<string, number>());
    underWay.set(database, (underWay.get(database) ?? 0) + 1);
    return () => {
      const left = (underWay.get(database) ?? 1) - 1;
      if (left > 0) underWay.set(database, left);
      else underWay.delete(database);
      if (underWay.size === 0) this.#underWay = undefined;
    };
  }

  /** A position of the database was put off, and `source` will take it. */
  putOff(database: string, source: PositionSource): void {
    (this.#sources ??= new Map()).set(database, source);
  }

  /** Takes all positions that were put off; rejects with the first failure. */
  async settle(): Promise<void> {
    await Promise.all([...(this.#sources?.values() ?? [])].map((source) => source.settle(this)));
  }

  /** There is no time left for the positions that were put off: only the primary is sure then. */
  giveUpPositions(): void {
    for (const [database, source] of this.#sources ?? []) if (source.owes(this)) this.noteUnknown(database);
  }

  /** Takes in what another one has seen, of one database. */
  merge(
    database: string,
    { epoch, written, read }: Mark,
    tags: Iterable<TouchedTag> = [],
    tagsDropped = false,
  ): void {
    let progress = this.#databases?.get(database);
    if (progress === undefined || comesAfter(epoch, progress.epoch))
      progress = this.#replace(database, epoch);
    else if (progress.epoch !== epoch) return;
    progress.written = later(progress.written, written);
    progress.read = later(progress.read, read);
    if (tagsDropped) dropTags(progress);
    for (const { tag, written: touchedAt } of tags) touch(progress, tag, touchedAt);
  }

  /** Takes in all that another one has seen. */
  mergeAll(other: Seen): void {
    for (const [database, progress] of other.#databases ?? []) {
      this.merge(database, progress, other.touchedTags(database), progress.tagsDropped);
      if (progress.unknown) this.noteUnknown(database);
      // By a clock that is ahead it was not before now: else it would hide what is written from here on.
      if (progress.wroteAtMs !== undefined)
        this.noteWroteAt(database, Math.min(progress.wroteAtMs, Date.now()));
    }
  }

  /** Begins anew in another history; what is not known of the former one is not known of this one. */
  #replace(database: string, epoch: string): Progress {
    const { unknown = this.#unsure, unknowns = 0, wroteAtMs } = this.#databases?.get(database) ?? {};
    const progress = { ...fresh(epoch), unknown, unknowns, wroteAtMs };
    (this.#databases ??= new Map()).set(database, progress);
    return progress;
  }
}

const fresh = (epoch: string): Progress => ({
  epoch,
  written: 0n,
  read: 0n,
  unknown: false,
  unknowns: 0,
  wroteAtMs: undefined,
  tags: new Map(),
  tagsDropped: false,
});

function touch(progress: Progress, tag: string, written: Lsn): void {
  if (progress.tagsDropped) {
    // It may be somebody else's write, of which nothing but this is known.
    progress.written = later(progress.written, written);
    return;
  }
  const known = progress.tags.get(tag);
  progress.tags.delete(tag);
  progress.tags.set(tag, known === undefined ? written : later(known, written));
  if (progress.tags.size > maxTouchedTags) dropTags(progress);
}

function dropTags(progress: Progress): void {
  progress.tagsDropped = true;
  for (const written of progress.tags.values()) progress.written = later(progress.written, written);
  progress.tags.clear();
}

const later = (one: Lsn, other: Lsn): Lsn => (one > other ? one : other);

/** Two histories of one timeline are told apart by their ids, in an order that is the same for everybody. */
function comesAfter(epoch: string, other: string): boolean {
  const [timeline, otherTimeline] = [timelineOf(epoch), timelineOf(other)];
  return timeline === otherTimeline ? epoch > other : timeline > otherTimeline;
}

/** The part of an epoch before the dot. */
export function timelineOf(epoch: string): number {
  return Number.parseInt(epoch, 10);
}

/** As PostgreSQL prints it: `16/B374D848`. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xff_ff_ff_ffn).toString(16)}`.toUpperCase();
}

const printed = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i;

/** Undefined for what is not a log position. */
export function parseLsn(text: string): Lsn | undefined {
  const parts = printed.exec(text);
  if (parts === null) return undefined;
  return (BigInt(`0x${parts[1]}`) << 32n) | BigInt(`0x${parts[2]}`);
}
