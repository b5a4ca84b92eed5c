import { PlimsollError } from '../kernel/errors.ts';
import type { Trouble } from './failure.ts';

export type Op = 'step' | 'sleep' | 'event' | 'approval' | 'child' | 'value';
export type HistoryKind =
  | 'began'
  | 'arrived'
  | 'done'
  | 'threw'
  | 'undone'
  | 'undo_threw'
  | 'failed'
  | 'stuck'
  | 'asked';

/** A value as a row keeps it: the absence of one is not JSON's null. */
export interface Kept {
  readonly value?: unknown;
}

export function kept(value: unknown): Kept {
  return value === undefined ? {} : { value };
}

/** The call that undoes a step. */
export interface Compensation {
  /** The command's id. */
  readonly operation: string;
  readonly input: Kept;
}

/** A row of the history that is yet to be written. */
export interface NewRow {
  readonly kind: HistoryKind;
  /** Default: it is about the whole saga. */
  readonly place?: string;
  readonly op?: Op;
  readonly name?: string;
  readonly operation?: string;
  readonly input?: Kept;
  readonly output?: Kept;
  readonly compensation?: Compensation;
  readonly error?: Trouble;
  readonly waitsMs?: number;
  readonly who?: string;
  readonly why?: string;
}

/** A row as it was read. */
export interface HistoryRow {
  readonly seq: number;
  readonly kind: HistoryKind;
  readonly place: string;
  readonly op: Op | null;
  readonly name: string | null;
  readonly operation: string | null;
  readonly input: Kept | null;
  readonly output: Kept | null;
  readonly compensation: Compensation | null;
  readonly error: Trouble | null;
  readonly waitsMs: number | null;
  readonly who: string | null;
  readonly why: string | null;
  /** Milliseconds since the epoch, by the database. */
  readonly atMs: number;
}

/** What the code asks for at a place; it must be the same each time. */
export interface Asked {
  readonly op: Op;
  readonly name: string;
  /** The command, event or saga; undefined where there is none. */
  readonly operation?: string;
}

/** What is known of one place. */
export interface Place {
  began?: Pick<HistoryRow, 'op' | 'name' | 'operation' | 'input' | 'waitsMs' | 'atMs' | 'seq'>;
  /** What came from outside, and is not answered to the code yet. */
  arrived?: Pick<HistoryRow, 'output' | 'who' | 'why'>;
  done?: Pick<HistoryRow, 'output' | 'compensation' | 'seq'>;
  undone: boolean;
  /** Calls that threw since somebody last asked for it to be tried again. */
  tries: number;
  undoTries: number;
  lastError: Trouble | undefined;
  /** Asked for in this run of the code. */
  visited: boolean;
}

/** What can be undone, newest first. */
export interface Undoable {
  readonly place: string;
  readonly name: string;
  /** The step's command, or the child's saga. */
  readonly operation: string;
  readonly tries: number;
  /** Undefined for a child, which undoes itself. */
  readonly compensation: Compensation | undefined;
}

/**
 * The history of one saga, by place. A place is a number in the order of asking (`3`), or that of a branch
 * (`2.stock.1`). Rows that this run adds are kept until they are written.
 */
export class History {
  readonly #where: string;
  readonly #places = new Map<string, Place>();
  /** Highest number that is recorded in a scope (`''`, `2.stock`), itself or by what lies within. */
  readonly #highest = new Map<string, number>();
  /** Numbers at which branches begin: `2` for `2.stock.1`. */
  readonly #forks = new Set<string>();
  #pending: NewRow[] = [];

  /** `where` names saga and version in errors. */
  constructor(where: string, rows: readonly HistoryRow[]) {
    this.#where = where;
    for (const row of rows) this.#take(row);
  }

  #take(row: HistoryRow): void {
    if (row.kind === 'asked' && row.operation !== 'approve' && row.operation !== 'reject') {
      for (const known of this.#places.values()) {
        known.tries = 0;
        known.undoTries = 0;
      }
    }
    if (row.place === '') return;
    const place = this.#at(row.place);
    if (row.kind === 'began') {
      place.began = row;
      this.#noteHighest(row.place);
    } else if (row.kind === 'arrived') place.arrived ??= row;
    else if (row.kind === 'done') {
      place.done = row;
      this.#noteHighest(row.place);
      // A value is recorded as it is made, without a beginning.
      if (row.op === 'value') place.began ??= row;
    } else if (row.kind === 'undone') place.undone = true;
    else if (row.kind === 'threw' || row.kind === 'undo_threw') {
      if (row.kind === 'threw') place.tries += 1;
      else place.undoTries += 1;
      place.lastError = row.error ?? undefined;
    }
  }

  #at(place: string): Place {
    let known = this.#places.get(place);
    if (known === undefined) {
      known = { undone: false, tries: 0, undoTries: 0, lastError: undefined, visited: false };
      this.#places.set(place, known);
    }
    return known;
  }

  #noteHighest(place: string): void {
    const parts = place.split('.');
    for (let end = parts.length; end > 0; end -= 2) {
      const scope = parts.slice(0, end - 1).join('.');
      const number = Number(parts[end - 1]);
      this.#highest.set(scope, Math.max(this.#highest.get(scope) ?? 0, number));
      if (end < parts.length) this.#forks.add(parts.slice(0, end).join('.'));
    }
  }

  /**
   * What is known where the code asks for this; PL_SAGA_DIVERGED when it is not what was asked for there before,
   * or something after it was already recorded.
   */
  visit(place: string, asked: Asked): Place {
    const known = this.#at(place);
    const { began } = known;
    if (began === undefined) {
      if (this.#forks.has(place)) throw this.#diverged(place, 'branches', describe(asked));
      this.#assertNewest(place, describe(asked));
    } else if (
      began.op !== asked.op ||
      began.name !== asked.name ||
      (began.operation ?? undefined) !== asked.operation
    ) {
      throw this.#diverged(place, describeBegan(began), describe(asked));
    }
    known.visited = true;
    return known;
  }

  /** The code asks for branches at this place. */
  fork(place: string): void {
    const began = this.#places.get(place)?.began;
    if (began !== undefined) throw this.#diverged(place, describeBegan(began), 'branches');
    if (!this.#forks.has(place)) this.#assertNewest(place, 'branches');
  }

  #assertNewest(place: string, asked: string): void {
    const at = place.lastIndexOf('.');
    const highest = this.#highest.get(at === -1 ? '' : place.slice(0, at)) ?? 0;
    if (highest > Number(place.slice(at + 1)))
      throw this.#diverged(place, `nothing, but something at ${highest} after it`, asked);
  }

  /** PL_SAGA_DIVERGED when something is recorded that the code no longer asks for. */
  assertAllVisited(): void {
    for (const [place, { began, visited }] of this.#places)
      if (began !== undefined && !visited) throw this.#diverged(place, describeBegan(began), 'nothing');
  }

  #diverged(place: string, recorded: string, asked: string): PlimsollError {
    return new PlimsollError(
      'PL_SAGA_DIVERGED',
      `${this.#where}: at place ${place} the history has ${recorded}, and the code asks for ${asked}; give the changed code a new version and keep the old one in \`previous\`, then resume the saga`,
      { data: { place, recorded, asked } },
    );
  }

  /** A row that this run adds; known at once, written with the next write. */
  add(row: NewRow): void {
    this.#pending.push(row);
    this.note(row);
  }

  /** A row that somebody else writes. */
  note(row: NewRow): void {
    this.#take({
      seq: Number.MAX_SAFE_INTEGER,
      kind: row.kind,
      place: row.place ?? '',
      op: row.op ?? null,
      name: row.name ?? null,
      operation: row.operation ?? null,
      input: row.input ?? null,
      output: row.output ?? null,
      compensation: row.compensation ?? null,
      error: row.error ?? null,
      waitsMs: row.waitsMs ?? null,
      who: row.who ?? null,
      why: row.why ?? null,
      // Known once it is written; whoever adds it knows that it is new.
      atMs: Number.NaN,
    });
  }

  /** Whether nothing but operations of these kinds is to be written now. */
  pendingAreAll(...ops: readonly Op[]): boolean {
    return this.#pending.every(({ op }) => op !== undefined && ops.includes(op));
  }

  /** The rows to be written now; they count as written. */
  takePending(): readonly NewRow[] {
    const pending = this.#pending;
    this.#pending = [];
    return pending;
  }

  /** Steps that were begun and have no outcome: whether they had an effect is not known. */
  unsettled(): readonly { readonly place: string; readonly known: Place }[] {
    return [...this.#places]
      .filter(([, { began, done }]) => began?.op === 'step' && done === undefined)
      .map(([place, known]) => ({ place, known }));
  }

  /** Approvals that nobody has decided. */
  approvals(): readonly { readonly place: string; readonly name: string }[] {
    return [...this.#places]
      .filter(([, { began, arrived, done }]) => began?.op === 'approval' && !arrived && !done)
      .map(([place, { began }]) => ({ place, name: began?.name ?? '' }));
  }

  /** Whether the saga waits for an event. */
  get awaitsEvent(): boolean {
    return [...this.#places.values()].some(
      ({ began, arrived, done }) => began?.op === 'event' && arrived === undefined && done === undefined,
    );
  }

  /** What is left to undo, newest first: steps that are done, and children whether they are done or not. */
  undoable(): readonly Undoable[] {
    const left: (Undoable & { readonly seq: number })[] = [];
    for (const [place, { began, done, undone, undoTries }] of this.#places) {
      if (undone || began === undefined) continue;
      const shared = { place, name: began.name ?? '', operation: began.operation ?? '', tries: undoTries };
      if (began.op === 'child')
        left.push({ ...shared, compensation: undefined, seq: done?.seq ?? began.seq });
      else if (done !== undefined && done.compensation !== null)
        left.push({ ...shared, compensation: done.compensation, seq: done.seq });
    }
    return left.toSorted((a, b) => b.seq - a.seq);
  }
}

function describe({ op, name, operation }: Asked): string {
  return `${op} ${JSON.stringify(name)}${operation === undefined ? '' : ` (${operation})`}`;
}

function describeBegan({ op, name, operation }: NonNullable<Place['began']>): string {
  return describe({ op: op ?? 'step', name: name ?? '', ...(operation === null ? {} : { operation }) });
}
