import { sql } from '../database/sql.ts';
import type { Clock } from '../kernel/clock.ts';
import { commitMove, historyOver, type BatchLimits, type Filling, type Advanced } from './advance.ts';
import { foldBatch, keyBatch, type FoldedRow, type FoldingView, type Values } from './fold.ts';
import { tableSql } from './place.ts';
import { readEvents } from './read-log.ts';
import { storedRows, writeRows } from './rows.ts';
import type { Databases } from './tables.ts';

export interface BuildLimits extends BatchLimits {
  /** Rows that one transaction writes, about. */
  readonly rows: number;
  /** Rows that stay known between two transactions, at most. Default 30_000. */
  readonly knownRows?: number;
  /** Events that are folded and not yet written, at most: a view of few rows should move, too. Default 100_000. */
  readonly ahead?: number;
}

const buildDefaults = { knownRows: 30_000, ahead: 100_000 } as const;

/** How a step ended. `elsewhere`: the table is not where this left it, so that what was folded is of no use. */
export type Built =
  | { readonly outcome: 'unwritten' | 'elsewhere' }
  /** `durationMs` is that of the transaction. */
  | {
      readonly outcome: 'written';
      readonly advanced: Exclude<Advanced, { readonly outcome: 'busy' }>;
      readonly durationMs: number;
    };

/**
 * Fills a table that is far behind. Events are read and folded outside of any transaction, as many as make so many rows;
 * a short transaction then writes these rows and moves the position. Rows that were read or written stay known
 * in between: nobody else moves the table, or the position is not where this began and what was folded is dropped.
 */
export class Build {
  readonly #databases: Databases;
  readonly #filling: Filling;
  readonly #view: FoldingView;
  readonly #clock: Clock;
  /** Of the table, and of what is folded. */
  #written: number;
  #folded: number;
  #head = 0;
  /** Rows as they are at `#folded`, those of longest ago first; null is known not to be there. */
  readonly #known = new Map<string, Values | null>();
  /** What the table does not have of them. */
  #changed = new Map<string, FoldedRow>();

  constructor(databases: Databases, filling: Filling, view: FoldingView, position: number, clock: Clock) {
    this.#databases = databases;
    this.#filling = filling;
    this.#view = view;
    this.#clock = clock;
    this.#written = position;
    this.#folded = position;
  }

  get folded(): number {
    return this.#folded;
  }

  /** Reads and folds the next events, and writes when there is enough of them. Rejects with what cannot be read or folded. */
  async step(limits: BuildLimits): Promise<Built> {
    const { batch, rows, ahead } = { ...buildDefaults, ...limits };
    const { place } = this.#filling;
    if (!(await this.#isWhereItWas())) return { outcome: 'elsewhere' };
    const { head, kept, events } = await readEvents(this.#databases.log, this.#view, this.#folded, batch);
    this.#head = head;
    if (head > this.#folded && !kept) throw historyOver(place, this.#folded);
    const keyed = keyBatch(this.#view, events);
    const unknown = [...keyed.keys].filter(([id]) => !this.#known.has(id));
    const stored = await storedRows(
      this.#databases.database,
      tableSql(place.schema, this.#filling.table),
      this.#view,
      unknown.map(([, key]) => key),
    );
    for (const [id] of unknown) this.#known.set(id, stored.get(id) ?? null);
    for (const row of foldBatch(this.#view, keyed, this.#known)) {
      // As the one of last.
      this.#known.delete(row.id);
      this.#known.set(row.id, row.state);
      this.#changed.set(row.id, row);
    }
    this.#folded = Math.min(head, this.#folded + batch);
    const enough = this.#changed.size >= rows || this.#folded - this.#written >= ahead;
    if (!enough && this.#folded < head) return { outcome: 'unwritten' };
    return this.#write({ ...buildDefaults, ...limits });
  }

  async #write({ statementTimeoutMs, knownRows }: Required<BuildLimits>): Promise<Built> {
    const startedMs = this.#clock.monotonicMs();
    const move = { from: this.#written, upTo: this.#folded, head: this.#head };
    const { schema } = this.#filling.place;
    const target = tableSql(schema, this.#filling.table);
    const advanced = await commitMove(this.#databases, this.#filling, move, statementTimeoutMs, (tx) =>
      writeRows(tx, target, this.#view, [...this.#changed.values()]),
    );
    if (advanced.outcome === 'busy') return { outcome: 'elsewhere' };
    this.#written = this.#folded;
    this.#changed = new Map();
    for (const id of this.#known.keys()) {
      if (this.#known.size <= knownRows) break;
      this.#known.delete(id);
    }
    return { outcome: 'written', advanced, durationMs: this.#clock.monotonicMs() - startedMs };
  }

  /** Looked at before each step: two who build one table would both work, and one of them for nothing. */
  async #isWhereItWas(): Promise<boolean> {
    const { place, table } = this.#filling;
    const row = await this.#databases.database.maybeOne(sql`
      select 1 from plimsoll.view_table
      where schema_name = ${place.schema} and table_name = ${table} and position = ${this.#written} and state <> 'retired'`);
    return row !== undefined;
  }
}
