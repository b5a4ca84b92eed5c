import type { Lsn, PositionSource, Seen } from '../../kernel/seen.ts';
import { sqlState } from '../failures.ts';
import { learnEpoch, type AskRow, type Epoch, type Learned } from './epoch.ts';
import { readPrimary, type PrimaryPosition } from './position.ts';

/** The position of a primary, and the `turn` of its causality from before it was asked for. */
export interface Sampled {
  readonly position: PrimaryPosition;
  readonly turn: number;
}

/** No such function, or not for this user: a server that only speaks the protocol of PostgreSQL. */
export function tellsNoPosition(error: unknown): boolean {
  return ['42883', '0A000', '42501', '42P01'].includes(sqlState(error) ?? '');
}

/** How long an epoch without its row is good before the row is looked for again. */
const lookAgainMs = 30_000;

/**
 * Knows which history the primary writes, and notes in tokens what was written and read there. One for each database
 * of a process. It asks nothing by itself: it is told by whoever has a connection.
 */
export class Causality {
  /** Names the database in tokens. */
  readonly name: string;
  /** Told when a commit was sent, and a position that was safe on disk after it. */
  onCommit: ((sentAtMs: number, flushed: Lsn) => void) | undefined;
  /** Set by whoever can ask the primary: positions that are put off are taken with it. */
  source: PositionSource | undefined;
  readonly #clock: () => number;
  readonly #wallClock: () => number;
  /** Replaced when the primary tells of another one; never goes back to an earlier timeline. */
  #epoch: Epoch | undefined;
  #learnedAtMs = -Infinity;
  #segmentBytes: bigint | undefined;
  /** Why positions cannot be had from this server; nothing is noted then. */
  #unsupported: string | undefined;
  /** Set while the server that answers as primary is on an earlier timeline than one seen before. */
  #fenced = false;
  /** Tokens with a statement whose position is still to be taken, and when it ended, by count. */
  readonly #due = new WeakMap<Seen, number>();
  /** The same of reads. */
  readonly #readDue = new WeakMap<Seen, number>();
  #turn = 0;

  /** The wall clock is that of this process, by which clients are told when they wrote. */
  constructor(name: string, monotonicMs: () => number, wallMs: () => number = Date.now) {
    this.name = name;
    this.#clock = monotonicMs;
    this.#wallClock = wallMs;
  }

  get epoch(): Epoch | undefined {
    return this.#epoch;
  }

  get unsupported(): string | undefined {
    return this.#unsupported;
  }

  get fenced(): boolean {
    return this.#fenced;
  }

  /** To be taken before a position is asked for, and given back with it. */
  get turn(): number {
    return this.#turn;
  }

  /** Asks a primary for its epoch and position. Rejects when the connection fails. */
  async learn(ask: AskRow): Promise<Learned | undefined> {
    let learned: Learned | undefined;
    try {
      learned = await learnEpoch(ask);
    } catch (error) {
      const code = sqlState(error) ?? '';
      if (!tellsNoPosition(error)) throw error;
      this.#unsupported = `the primary does not tell its log position (${code})`;
      return undefined;
    }
    if (learned === undefined) return undefined;
    this.#unsupported = undefined;
    this.#learnedAtMs = this.#clock();
    this.#segmentBytes = learned.segmentBytes;
    if (!this.#isFenced(learned.position)) this.#epoch = learned.epoch;
    return this.#fenced ? undefined : learned;
  }

  /** What a primary answered; undefined when it is a standby. */
  positionIn(row: unknown): PrimaryPosition | undefined {
    return readPrimary(row, this.#segmentBytes);
  }

  /** Whether positions of this timeline can be noted as they are; else {@link learn} first. */
  knows(timeline: number): boolean {
    if (this.#epoch?.timeline !== timeline) return false;
    return this.#epoch.rowId !== undefined || this.#clock() - this.#learnedAtMs < lookAgainMs;
  }

  /** Whether the position is of a primary that another one has replaced. */
  #isFenced(position: PrimaryPosition): boolean {
    this.#fenced = this.#epoch !== undefined && position.timeline < this.#epoch.timeline;
    return this.#fenced;
  }

  /** After a primary answered; false when it was replaced by another one, and its answer is worth nothing. */
  accepts(position: PrimaryPosition): boolean {
    return !this.#isFenced(position);
  }

  /** A commit at or before `written`. `turn` is from before its position was asked for. */
  noteWritten(seen: Seen, written: Lsn, turn: number): void {
    this.noteTime(seen);
    if (this.#epoch === undefined) return seen.noteUnknown(this.name);
    seen.noteWritten(this.name, this.#epoch.text, written);
    const due = this.#due.get(seen);
    if (due === undefined) return;
    if (due <= turn) this.#due.delete(seen);
    else seen.noteUnknown(this.name);
  }

  /** Something may just have been written. */
  noteTime(seen: Seen): void {
    seen.noteWroteAt(this.name, this.#wallClock());
  }

  noteRead(seen: Seen, read: Lsn): void {
    if (this.#epoch !== undefined) seen.noteRead(this.name, this.#epoch.text, read);
  }

  noteUnknown(seen: Seen): void {
    this.noteTime(seen);
    this.#due.delete(seen);
    seen.noteUnknown(this.name);
  }

  /**
   * A statement outside a transaction has ended on the primary, and may have written. Its position is taken when
   * somebody needs it; until then only the primary is sure to show it.
   */
  markDue(seen: Seen): void {
    this.noteTime(seen);
    const wasUnknown = seen.isUnknown(this.name) && !this.#due.has(seen);
    seen.noteUnknown(this.name);
    if (wasUnknown) return;
    this.#turn += 1;
    this.#due.set(seen, this.#turn);
    this.#putOff(seen);
  }

  /** A read has ended on the primary, and its position was not taken. */
  markRead(seen: Seen): void {
    this.#turn += 1;
    this.#readDue.set(seen, this.#turn);
    this.#putOff(seen);
  }

  /** Whether only a position is missing for it to be known what was written or read. */
  owes(seen: Seen): boolean {
    return this.#owesWrite(seen) || this.#readDue.has(seen);
  }

  /** Notes in the token a position for all that is due. `sample` asks the primary, from after its call. */
  async settle(seen: Seen, sample: () => Promise<Sampled | undefined>): Promise<void> {
    while (this.owes(seen)) {
      const sampled = await sample();
      if (sampled === undefined) return;
      if (this.#owesWrite(seen)) this.noteWritten(seen, sampled.position.inserted, sampled.turn);
      else this.noteRead(seen, sampled.position.inserted);
      const readDue = this.#readDue.get(seen);
      if (readDue !== undefined && readDue <= sampled.turn) this.#readDue.delete(seen);
    }
  }

  #putOff(seen: Seen): void {
    if (this.source !== undefined) seen.putOff(this.name, this.source);
  }

  #owesWrite(seen: Seen): boolean {
    return this.#due.has(seen) && seen.isUnknown(this.name);
  }
}
