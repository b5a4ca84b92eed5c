import { currentContext, type RequestContext } from '../kernel/context.ts';
import type { Mark as SeenMark, Seen, TouchedTag } from '../kernel/seen.ts';
import type { CoarseClock } from './coarse-clock.ts';
import { tickMs } from './entry.ts';
import type { Heard } from './heard.ts';
import { markOf, noMark, positionOf, type Mark, type Position } from './position.ts';
import type { Slot } from './slot.ts';
import type { TagTable } from './tag-table.ts';

/** What the one who reads may be answered with. */
export interface Reader {
  /** Nothing that is kept will do: decisions rest on it, or it is not known what has been written. */
  readonly mustLoad: boolean;
  /** What he has written, or seen, of these tags. */
  readonly need: Mark;
  /** What he has seen, where it is past what is known to have been applied here. */
  readonly unheard: Position | undefined;
}

const anybody: Reader = { mustLoad: false, need: noMark, unheard: undefined };
const nameOfNone = 'primary';

export interface ReadersOptions {
  /** Under which name tokens know the database. Default the only one in them. */
  readonly database: string | undefined;
  readonly table: TagTable;
  readonly coarse: CoarseClock;
  /** For how long after this process another one may not have heard of an invalidation; undefined where there is none. */
  readonly lateMs: number | undefined;
  /** Undefined where nobody could say. */
  readonly heard: Heard | undefined;
}

/** The causality tokens of those who read and invalidate. */
export class Readers {
  readonly #database: string | undefined;
  readonly #table: TagTable;
  readonly #coarse: CoarseClock;
  readonly #lateTicks: number | undefined;
  readonly #heard: Heard | undefined;
  #only: string | undefined;

  constructor({ database, table, coarse, lateMs, heard }: ReadersOptions) {
    this.#database = database;
    this.#table = table;
    this.#coarse = coarse;
    this.#heard = heard;
    // Twice: it is sent within as long, too.
    this.#lateTicks = lateMs === undefined ? undefined : Math.ceil((2 * lateMs) / tickMs) + 1;
  }

  /** As far as it is known: before the first token, any name will do. */
  get database(): string {
    return this.#database ?? this.#only ?? nameOfNone;
  }

  /** Whether any value that is kept will do, without looking at its tags: so it is of nearly all readers. */
  takesAnything(context: RequestContext): boolean {
    return !context.strong && context.seen.isEmpty && !this.owes(context.seen);
  }

  /** Whether he has read past the cache, and where that was has yet to be asked. */
  owes(seen: Seen): boolean {
    return this.#heard !== undefined && seen.owes;
  }

  readerOf(
    context: RequestContext | undefined,
    tags: readonly string[],
    inCommands: 'load' | 'cached',
  ): Reader {
    if (context === undefined) return anybody;
    const { seen, strong } = context;
    const database = this.nameIn(seen);
    if ((strong && inCommands === 'load') || seen.isUnknown(database))
      return { mustLoad: true, need: noMark, unheard: undefined };
    const mark = seen.mark(database);
    if (mark === undefined) return anybody;
    const lsn = seen.tagFloor(database, tags);
    return {
      mustLoad: false,
      need: lsn === 0n ? noMark : markOf({ epoch: mark.epoch, lsn }),
      unheard: this.#unheard(mark),
    };
  }

  /** A transaction that wrote may have read before it did, so that its commit counts as seen. */
  #unheard({ epoch, read, written }: SeenMark): Position | undefined {
    const lsn = read > written ? read : written;
    if (this.#heard === undefined || lsn === 0n) return undefined;
    const position = { epoch, lsn };
    return this.#heard.covers(position) ? undefined : position;
  }

  /**
   * Notes what an answer has shown: its position, for reads past the cache; and each of its tags that was invalidated a
   * moment ago, of which another process may not have heard yet.
   */
  note(seen: Seen, shown: Position | undefined, slots: readonly Slot[]): void {
    if (shown !== undefined) seen.noteRead(this.nameIn(seen), shown.epoch, shown.lsn);
    if (this.#lateTicks === undefined) return;
    const sinceTick = this.#coarse.tick() - this.#lateTicks;
    if (this.#table.raisedAtTick < sinceTick) return;
    for (const slot of slots) {
      const floor = slot.raisedAtTick < sinceTick ? undefined : positionOf(slot.floor);
      if (floor === undefined) continue;
      const tags: readonly TouchedTag[] = [{ tag: slot.name, written: floor.lsn }];
      seen.noteShown(this.nameIn(seen), floor.epoch, tags);
    }
  }

  /**
   * Who invalidates without a position has just committed, as far as his token tells: that is where what is loaded from
   * now on must be. He himself is never shown less.
   */
  positionOf(tags: readonly string[], given: Position | undefined): Position | undefined {
    const seen = currentContext()?.seen;
    if (seen === undefined) return given;
    const database = this.nameIn(seen);
    const mark = seen.mark(database);
    const isKnown = mark !== undefined && mark.written > 0n && !seen.isUnknown(database);
    const position = given ?? (isKnown ? { epoch: mark.epoch, lsn: mark.written } : undefined);
    // What he did not commit himself he need not be held to.
    if (isKnown && position !== undefined && position.lsn <= mark.written)
      seen.noteWritten(database, position.epoch, position.lsn, tags);
    return position;
  }

  learn(database: string): void {
    this.#only ??= database;
  }

  /** Learns it, when it was not given. */
  nameIn(seen: Seen): string {
    if (this.#database !== undefined) return this.#database;
    const [first, second] = seen.databases;
    if (first !== undefined && second === undefined) this.learn(first);
    return this.#only ?? nameOfNone;
  }
}
