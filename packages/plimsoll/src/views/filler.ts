import type { Clock } from '../kernel/clock.ts';
import { advance, type Advanced, type Filling } from './advance.ts';
import { Build } from './build.ts';
import { isOfBatch, isOfDatabase } from './failure.ts';
import { isFolding } from './fold.ts';
import type { Databases, ViewTable } from './tables.ts';

export interface FillerSettings {
  readonly batch: number;
  readonly targetMs: number;
  readonly statementTimeoutMs: number;
  readonly clock: Clock;
}

/** `unwritten`: there is more to do before anything is. `elsewhere`: somebody else builds the table, and is not raced. */
export type Step = Advanced | { readonly outcome: 'unwritten' } | { readonly outcome: 'elsewhere' };

/** The most rows of one transaction, as a multiple of `batch`: one that folds many events may well write more rows. */
const mostRowsOfBatch = 4;

/**
 * Fills one table, and remembers how: how much fits into a transaction, what is folded ahead, and where an event is that
 * cannot be applied, which is come near to with ever smaller batches until it is alone.
 */
export class Filler {
  readonly #databases: Databases;
  readonly #filling: Filling;
  readonly #settings: FillerSettings;
  /** Positions of one transaction, and rows of one that writes what was folded ahead. */
  #batch: number;
  #rows: number;
  /** While the table is far behind. */
  #build: Build | undefined = undefined;
  /** Up to this position nothing is folded ahead: something failed there. */
  #carefulUntil = 0;
  #position: number;
  #head: number;

  constructor(
    databases: Databases,
    filling: Filling,
    { position, head }: Pick<ViewTable, 'position'> & { readonly head: number },
    settings: FillerSettings,
  ) {
    this.#databases = databases;
    this.#filling = filling;
    this.#settings = settings;
    this.#batch = settings.batch;
    this.#rows = settings.batch;
    this.#position = position;
    this.#head = head;
  }

  /** Positions that a transaction takes now. */
  get batch(): number {
    return this.#batch;
  }

  /** Where the table was found, and the log; both only go forward, and what comes late is of before. */
  note({ position, head }: { readonly position: number; readonly head: number }): void {
    this.#position = Math.max(this.#position, position);
    this.#head = Math.max(this.#head, head);
  }

  /** The next events. Rejects when the first of them cannot be applied, or the database is away. */
  async next(): Promise<Step> {
    const { view } = this.#filling.place;
    const isFar = this.#head - this.#position > this.#settings.batch;
    if (isFar && isFolding(view) && this.#position >= this.#carefulUntil) {
      this.#build ??= new Build(this.#databases, this.#filling, view, this.#position, this.#settings.clock);
      return this.#ahead(this.#build);
    }
    this.#build = undefined;
    return this.#advance();
  }

  async #ahead(build: Build): Promise<Step> {
    const { batch, targetMs, statementTimeoutMs } = this.#settings;
    try {
      const built = await build.step({ batch, rows: this.#rows, statementTimeoutMs });
      if (built.outcome !== 'written') {
        if (built.outcome === 'elsewhere') this.#build = undefined;
        return built;
      }
      this.note(built.advanced);
      this.#rows = nextSize(this.#rows, built.durationMs, targetMs, batch * mostRowsOfBatch);
      return built.advanced;
    } catch (error) {
      this.#build = undefined;
      if (isOfDatabase(error)) throw error;
      // What was folded is dropped. Where it failed, events are taken as those of a live table are, which finds the one.
      this.#carefulUntil = build.folded + batch;
      return { outcome: 'unwritten' };
    }
  }

  async #advance(): Promise<Step> {
    const { clock, targetMs, statementTimeoutMs } = this.#settings;
    const batch = this.#batch;
    const startedMs = clock.monotonicMs();
    try {
      const advanced = await advance(this.#databases, this.#filling, { batch, statementTimeoutMs });
      if (advanced.outcome === 'busy') return advanced;
      this.note(advanced);
      if (advanced.outcome === 'applied')
        this.#batch = nextSize(batch, clock.monotonicMs() - startedMs, targetMs, this.#settings.batch);
      return advanced;
    } catch (error) {
      // Fewer, and again, until the event that cannot be applied is alone.
      if (batch === 1 || !isOfBatch(error)) throw error;
      this.#batch = Math.ceil(batch / 4);
      return { outcome: 'unwritten' };
    }
  }
}

function nextSize(size: number, durationMs: number, targetMs: number, most: number): number {
  if (durationMs > 2 * targetMs) return Math.max(1, Math.floor(size / 2));
  return durationMs < targetMs / 2 ? Math.min(most, size * 2) : size;
}
