import { background } from '../kernel/channels.ts';
import type { Clock } from '../kernel/clock.ts';
import { createContext, runInContext } from '../kernel/context.ts';
import type { MutableCounts } from './counts.ts';
import type { RecordedInvalidation } from './invalidation-rows.ts';
import type { Position } from './position.ts';
import type { InvalidationTruth } from './truth.ts';

/** Rows that are remembered as applied, at most; one that is forgotten is applied once more. */
const mostKnown = 10_000;

export interface HeardOptions {
  readonly truth: InvalidationTruth;
  readonly name: string;
  readonly clock: Clock;
  readonly scope: object;
  readonly counts: MutableCounts;
  /** How long a reader waits. */
  readonly softMs: number;
  /** When a question to the primary has failed. */
  readonly hardMs: number;
  /** In all tiers, as of a position at or past its commit; undefined where there is none. */
  readonly apply: (row: RecordedInvalidation, at: Position | undefined) => void;
  /** Whether all was applied that the bus had been given before. */
  readonly catchUp: () => Promise<boolean>;
  /** Another history has begun, and what is kept may be of commits that are lost. */
  readonly endHistory: () => Promise<unknown>;
  /**
   * What is kept here was filled by who had not heard of all that was invalidated: from now on it must be at or past
   * this position.
   */
  readonly beginAt: (at: Position) => void;
}

/**
 * Up to which position every invalidation was applied here. What is current by its versions is valid as of that, so that
 * whoever has seen nothing past it may be answered with it. It moves when a reader needs it to: who has seen nothing past
 * the cache costs nothing.
 */
export class Heard {
  readonly #options: HeardOptions;
  /** Rows that were applied with a position. Those that are deleted are taken out by the next refresh. */
  readonly #known = new Set<string>();
  // Grows when something may have been missed: a refresh that began before says nothing.
  #life = 0;
  #through: Position | undefined;
  #underWay: Promise<void> | undefined;
  // Ends the tries of the life before.
  #beginning = new AbortController();
  #firstTry: Promise<void> = Promise.resolve();

  constructor(options: HeardOptions) {
    this.#options = options;
  }

  covers({ epoch, lsn }: Position): boolean {
    return this.#through !== undefined && this.#through.epoch === epoch && lsn <= this.#through.lsn;
  }

  /** Whether it need not be applied once more: what was filled since then reflects it. */
  knows(row: string): boolean {
    return this.#known.has(row);
  }

  /** A row was applied, with the position of its commit or a later one. */
  note(row: string): void {
    this.#known.add(row);
    if (this.#known.size <= mostKnown) return;
    for (const oldest of this.#known) {
      this.#known.delete(oldest);
      return;
    }
  }

  /** Messages may be missing from now on. */
  distrust(): void {
    this.#life += 1;
    this.#through = undefined;
    this.#known.clear();
    this.#beginning.abort();
  }

  /**
   * The bus is heard again. What was invalidated before it began nobody will say: of a stream that was lost with its
   * server, not even a position of it. So the primary is asked at once, and until it answers.
   */
  begin(): void {
    this.#beginning = new AbortController();
    this.#firstTry = this.#refresh();
    void this.#untilKnown(this.#beginning.signal);
  }

  /** When the primary has answered, or could not in time: what is filled after that is not dropped. Never rejects. */
  begun(): Promise<void> {
    return this.#firstTry;
  }

  async #untilKnown(signal: AbortSignal): Promise<void> {
    const { clock, hardMs } = this.#options;
    await this.#firstTry;
    while (!signal.aborted && this.#through === undefined) {
      await clock.sleep(hardMs, signal);
      if (!signal.aborted) await this.#refresh();
    }
  }

  /** One refresh for all who need it; false when it did not come so far in time. */
  async reach(position: Position): Promise<boolean> {
    const { clock, softMs } = this.#options;
    const waited = new AbortController();
    const late = clock.sleep(softMs, waited.signal);
    let isLate = false;
    void late.then(() => (isLate = true));
    try {
      if (this.#underWay !== undefined) await Promise.race([this.#underWay, late]);
      // It may have begun before he has seen what he has.
      if (!isLate && !this.covers(position)) await Promise.race([this.#refresh(), late]);
      return this.covers(position);
    } finally {
      waited.abort();
    }
  }

  #refresh(): Promise<void> {
    this.#underWay ??= this.#inTime().finally(() => (this.#underWay = undefined));
    return this.#underWay;
  }

  /** Never rejects. */
  async #inTime(): Promise<void> {
    const { clock, hardMs, name, scope, counts } = this.#options;
    counts.refreshes += 1;
    const given = new AbortController();
    const waited = new AbortController();
    const late = clock.sleep(hardMs, waited.signal).then(() => given.abort());
    try {
      // None of those who wait: their deadlines and tokens are not those of the others.
      await Promise.race([runInContext(createContext({}), () => this.#ask(given.signal)), late]);
    } catch (error) {
      background.publish({ scope, what: `cache ${name}: asking which invalidations there are`, error });
    } finally {
      waited.abort();
    }
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { truth, name, apply, catchUp, endHistory, beginAt } = this.#options;
    const life = this.#life;
    const asked = [...this.#known];
    const { at, rows, known } = await truth.read(name, asked, signal);
    if (life !== this.#life) return;
    for (const row of rows) {
      apply(row, at);
      if (at !== undefined) this.note(row.id);
    }
    if (known !== undefined) {
      const left = new Set(known);
      for (const id of asked) if (!left.has(id)) this.#known.delete(id);
    }
    // After the rows: one that is deleted was given to the bus before.
    if (at === undefined || !(await catchUp())) return;
    if (this.#through !== undefined && this.#through.epoch !== at.epoch) await endHistory();
    if (life !== this.#life) return;
    if (this.#through === undefined) beginAt(at);
    this.#through = at;
  }
}
