import { sql } from '../database/sql.ts';
import type { Database } from '../database/database.ts';
import { assertAlive, createContext, currentContext, remainingMs, runInContext } from '../kernel/context.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { Seen, type Mark } from '../kernel/seen.ts';
import type { Applied } from './builder.ts';
import { createLogMarks, type LogMarks } from './log-marks.ts';
import { viewName, type PlacedView } from './place.ts';

export interface ViewReadsOptions {
  /** Where the rows of the views are. */
  readonly database: Database;
  /** Where the events are. Default `database`. */
  readonly log?: Database;
  readonly views: readonly PlacedView[];
  /** How long a reader waits for what it has written itself. Default 500. */
  readonly waitMs?: number;
  /** Asks the builder of this process to look for events now. Default nobody. */
  readonly wakeBuilder?: () => void;
  /** Asks the relay of this process to look at the outbox now. Default nobody. */
  readonly wakeRelay?: () => void;
  readonly clock?: Clock;
}

export const viewReadsDefaults = { waitMs: 500 } as const;

export interface CurrentOptions {
  /** What the reader has seen. Default that of the context, and without one nothing. */
  readonly seen?: Seen;
  /** Waits for all that was committed before, whoever wrote it. Default false: for the reader's own writes. */
  readonly strong?: boolean;
}

export interface ViewReads {
  /**
   * Resolves when each of the views, `orders.summary`, shows what the reader has written, and notes in what it has seen
   * that it may only read where that is so. Whoever has written nothing does not wait. PL_VIEW_LATE after `waitMs`.
   */
  current(views: readonly string[], options?: CurrentOptions): Promise<void>;
  /** A batch was committed in this process. */
  applied(applied: Applied): void;
  /** Events were moved from the outbox to the log by this process. */
  moved(): void;
  state(): ViewReadsState;
}

export interface ViewReadsState {
  /** Reads that had to be as current as a write. */
  readonly asked: number;
  /** Those of them that found it applied already, without a statement. */
  readonly atOnce: number;
  readonly late: number;
  readonly waitedMs: number;
}

/** How far a live table is known to be, and where that is in the log of its database. */
interface KnownCommit {
  readonly position: number;
  readonly at: Mark | undefined;
}

const mostCommits = 64;
const firstPauseMs = 4;
const longestPauseMs = 25;
const nextPause = (pauseMs: number): number => Math.min(Math.max(pauseMs * 2, firstPauseMs), longestPauseMs);

export function createViewReads(options: ViewReadsOptions): ViewReads {
  const { database, views, wakeBuilder = () => undefined, wakeRelay = () => undefined } = options;
  const { log = database, waitMs = viewReadsDefaults.waitMs, clock = systemClock } = options;
  const marks = createLogMarks({ log, clock, wakeRelay });
  /** By view, oldest first: a reader goes by the first that has what it needs. */
  const known = new Map<string, KnownCommit[]>();
  /** Of what is known: a promotion may have taken back what a view had applied. */
  let history: string | undefined;
  const counts = { asked: 0, atOnce: 0, late: 0, waitedMs: 0 };
  let changed = Promise.withResolvers<void>();
  let polling: Promise<void> | undefined;

  function note(view: string, position: number, at: Mark | undefined): void {
    const commits = known.get(view) ?? [];
    known.set(view, commits);
    const last = commits.at(-1);
    if (last !== undefined && position <= last.position) {
      if (position < last.position || last.at !== undefined || at === undefined) return;
      // The same position again, but now it is known where.
      commits.pop();
    }
    commits.push({ position, at });
    if (commits.length > mostCommits) commits.shift();
    const { resolve } = changed;
    changed = Promise.withResolvers();
    resolve();
  }

  function forgetLostHistory(): void {
    const { epoch } = database.routing();
    if (epoch !== history) known.clear();
    history = epoch;
  }

  /** Whether the reader is sure to see that much wherever it may read from now on. */
  function isShown(view: string, position: number, seen: Seen | undefined): boolean {
    const routed = seen !== undefined && database.routing().replicas.length > 0;
    const commit = known
      .get(view)
      ?.find((each) => each.position >= position && (!routed || each.at !== undefined));
    if (commit === undefined) return false;
    if (routed && commit.at !== undefined) {
      const { epoch, written, read } = commit.at;
      seen.noteRead(database.name, epoch, written > read ? written : read);
    }
    return true;
  }

  /** One for all who wait; apart from their requests. */
  function poll(): Promise<void> {
    polling ??= runInContext(createContext(), ask).finally(() => {
      polling = undefined;
    });
    return polling;
  }

  async function ask(): Promise<void> {
    const seen = new Seen();
    const schemas = views.map(({ schema }) => schema);
    const names = views.map(({ view }) => view.name);
    // A read of the primary notes a position from after it, which is at or past the commits that it has shown.
    const rows = await database.readOnly(
      (db) =>
        db.query<{ view: string; position: number }>(sql`
          select schema_name || '.' || view_name as view, position from plimsoll.view_table
          where state = 'live' and (schema_name, view_name) in (select * from unnest(${schemas}::text[], ${names}::text[]))`),
      { consistency: 'strong', seen },
    );
    const at = seen.mark(database.name);
    for (const { view, position } of rows) note(view, position, at);
  }

  async function current(names: readonly string[], given: CurrentOptions = {}): Promise<void> {
    const context = currentContext();
    const seen = given.seen ?? context?.seen;
    const strong = given.strong ?? false;
    if (names.length === 0 || (!strong && !mayHaveWritten(seen, log.name))) return;
    counts.asked += 1;
    forgetLostHistory();
    const startedMs = clock.monotonicMs();
    // A timer may fire a fraction early; by then the deadline must have passed.
    const budgetMs = Math.min(
      waitMs,
      context === undefined ? Infinity : Math.ceil(remainingMs(context, clock)) + 1,
    );
    const late = Promise.withResolvers<never>();
    const timer = new AbortController();
    void clock.sleep(budgetMs, timer.signal).then(() => late.reject(new OutOfTime()));
    late.promise.catch(() => undefined);
    let isWaiting = false;
    try {
      const position =
        neededNow(marks, log, seen, strong) ?? (await within(late.promise, needed(seen, strong)));
      for (
        let pauseMs = options.wakeBuilder === undefined ? 0 : firstPauseMs;
        ;
        pauseMs = nextPause(pauseMs)
      ) {
        if (names.every((name) => isShown(name, position, seen))) break;
        isWaiting = true;
        if (context !== undefined) assertAlive(context, `read of ${names.join(', ')}`, clock);
        wakeBuilder();
        // The builder of this process tells; what another one has done has to be looked for.
        if (pauseMs > 0) await within(late.promise, nextChange(pauseMs));
        if (!names.every((name) => isShown(name, position, seen))) await within(late.promise, poll());
      }
      if (!isWaiting) counts.atOnce += 1;
    } catch (error) {
      if (!(error instanceof OutOfTime)) throw error;
      if (context !== undefined) assertAlive(context, `read of ${names.join(', ')}`, clock);
      counts.late += 1;
      throw lateBy(names, waitMs);
    } finally {
      timer.abort();
      counts.waitedMs += clock.monotonicMs() - startedMs;
    }
  }

  async function needed(seen: Seen | undefined, strong: boolean): Promise<number> {
    if (!strong && seen?.isUnknown(log.name) === true) await log.settle(seen);
    const now = neededNow(marks, log, seen, strong);
    return now ?? (await marks.fresh()).position;
  }

  async function nextChange(ms: number): Promise<void> {
    const enough = new AbortController();
    await Promise.race([changed.promise, clock.sleep(ms, enough.signal)]);
    enough.abort();
  }

  return {
    current,
    applied({ view, isLive, position, commit }) {
      if (isLive) note(view, position, commit);
    },
    moved: () => marks.moved(),
    state: () => ({ ...counts }),
  };
}

class OutOfTime extends Error {
  override readonly name = 'OutOfTime';
}

function within<T>(late: Promise<never>, work: Promise<T>): Promise<T> {
  return Promise.race([work, late]);
}

function mayHaveWritten(seen: Seen | undefined, log: string): boolean {
  if (seen === undefined) return false;
  return seen.isUnknown(log) || (seen.mark(log)?.written ?? 0n) > 0n;
}

/** What is known without asking; undefined when it has to be asked. */
function neededNow(
  marks: LogMarks,
  log: Database,
  seen: Seen | undefined,
  strong: boolean,
): number | undefined {
  if (strong || seen === undefined || seen.isUnknown(log.name)) return undefined;
  const mark = seen.mark(log.name);
  return mark === undefined ? undefined : marks.known(mark.epoch, mark.written);
}

function lateBy(names: readonly string[], waitMs: number): PlimsollError {
  return new PlimsollError(
    'PL_VIEW_LATE',
    `${names.join(', ')}: what its reader has written was not applied within ${waitMs} ms; see plimsoll views list for how far behind it is, or give the reader more time (views.waitMs in the plan)`,
    { data: { views: names, waitMs, retryAfterMs: 1_000 } },
  );
}

/** The names of these views, for `current`. */
export function namesOf(views: readonly PlacedView[]): readonly string[] {
  return views.map(viewName);
}
