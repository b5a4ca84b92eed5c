import { createLoop } from '../durable/loop.ts';
import { sql } from '../database/sql.ts';
import type { Database } from '../database/database.ts';
import { background } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import type { Lifecycle } from '../kernel/lifecycle.ts';
import type { Mark } from '../kernel/seen.ts';
import type { Filling } from './advance.ts';
import { isOfDatabase } from './failure.ts';
import { Filler, type Step } from './filler.ts';
import { viewName, versionName, type PlacedView } from './place.ts';
import { prepareViews } from './prepare.ts';
import { headOf } from './read-log.ts';
import { switchView } from './switch.ts';
import { tableColumns, type Databases, type ViewTable } from './tables.ts';

export interface ViewBuilderOptions {
  /** Where the rows of the views are, with the tables of `viewMigrations`. */
  readonly database: Database;
  /** Where the events are, with the tables of `outboxMigrations`. Default `database`. */
  readonly log?: Database;
  readonly views: readonly PlacedView[];
  /** How often it looks for events when nobody wakes it. Default 1_000. */
  readonly pollMs?: number;
  /** Positions of the log in one transaction, at most. Default 5_000. */
  readonly batch?: number;
  /** How long the transaction of a batch may take: longer ones make batches smaller. Default 200. */
  readonly targetMs?: number;
  /** Tables that are live and advance at once in this process; each takes a connection. Default 2. */
  readonly concurrency?: number;
  /** Of its time, how much a table that is being built leaves to others. Default 0.5; 0: none. */
  readonly restShare?: number;
  /** Of one statement of a batch. Default 10_000. */
  readonly statementTimeoutMs?: number;
  /** Whether a version that has caught up is switched to at once. Default true; else by `switchView`. */
  readonly switches?: boolean;
  /** Told after each batch. */
  readonly onApplied?: (applied: Applied) => void;
  /** Default that of the database. */
  readonly scope?: object;
  readonly clock?: Clock;
}

/** A batch has been committed. */
export interface Applied {
  /** `orders.summary` */
  readonly view: string;
  readonly table: string;
  readonly version: number;
  readonly isLive: boolean;
  readonly position: number;
  readonly head: number;
  readonly commit: Mark | undefined;
}

export interface ViewBuilder extends Lifecycle {
  /** There are new events. */
  readonly wake: () => void;
}

export const viewBuilderDefaults = {
  pollMs: 1_000,
  batch: 5_000,
  targetMs: 200,
  concurrency: 2,
  restShare: 0.5,
  statementTimeoutMs: 10_000,
  switches: true,
} as const;

/** A table gives way to the others after this. */
const turnMs = 500;
/** Between two looks at a table that somebody else fills: it may end just before the event that we were woken for. */
const busyPauseMs = 10;
const busyLooks = 3;
/** A table whose next event cannot be applied is tried again after this. */
const stuckMs = 2_000;
/** And after this when the database was away. */
const awayMs = 500;
/** One that another process builds is left to it for so long. */
const elsewhereMs = 5_000;

/**
 * Fills the tables of views, in as many processes as there are: each table is filled by one of them at a time. What is
 * not there is made at the start. PL_CONFIG when an option is not valid.
 */
export function createViewBuilder(options: ViewBuilderOptions): ViewBuilder {
  const settings = { ...viewBuilderDefaults, clock: systemClock, ...options };
  throwIfProblems('the builder of views', builderProblems(settings));
  const { database, views, pollMs, clock, scope = database.scope } = settings;
  const databases: Databases = { database, log: options.log ?? database };
  const code = new Map(
    views.map((place) => [versionName(place.schema, place.view.name, place.view.version), place]),
  );
  /** Under way, by table. */
  const running = new Map<string, Promise<void>>();
  /** By table: how it is filled, and when it is tried again. */
  const fillers = new Map<string, Filler>();
  const retryAtMs = new Map<string, number>();
  let stopping = new AbortController();

  async function round(): Promise<boolean> {
    const tables = await filledTables(databases, views);
    const head = tables[0]?.head ?? 0;
    const nowMs = clock.monotonicMs();
    const filled = new Set(tables.map(({ schema, table }) => `${schema}.${table}`));
    for (const id of fillers.keys()) if (!filled.has(id)) fillers.delete(id);
    // Not those of a version that this process has no code for: another one has, or they wait.
    const due = tables.filter(
      ({ schema, table, name, version, position, state }) =>
        !running.has(`${schema}.${table}`) &&
        code.has(versionName(schema, name, version)) &&
        (retryAtMs.get(`${schema}.${table}`) ?? 0) <= nowMs &&
        (position < head || (state === 'building' && settings.switches)),
    );
    for (const state of ['live', 'building'] as const) {
      const most = state === 'live' ? settings.concurrency : 1;
      const free = most - tables.filter((each) => each.state === state && isRunning(each)).length;
      // The one that was served longest ago first.
      const order = due.filter((each) => each.state === state).toSorted((a, b) => servedAt(a) - servedAt(b));
      for (const table of order.slice(0, Math.max(0, free))) begin(table);
    }
    return false;
  }

  const served = new Map<string, number>();
  const servedAt = ({ schema, table }: ViewTable): number => served.get(`${schema}.${table}`) ?? 0;
  const isRunning = ({ schema, table }: ViewTable): boolean => running.has(`${schema}.${table}`);

  function begin(table: HeadedTable): void {
    const place = code.get(versionName(table.schema, table.name, table.version));
    if (place === undefined) return;
    const id = `${table.schema}.${table.table}`;
    served.set(id, clock.monotonicMs());
    const filling = { place, table: table.table };
    const filler = fillers.get(id) ?? new Filler(databases, filling, table, settings);
    fillers.set(id, filler);
    filler.note(table);
    const run = turn(table, filling, filler)
      .catch((error: unknown) => {
        background.publish({ scope, what: `view ${viewName(place)} version ${table.version}`, error });
        retryAtMs.set(id, clock.monotonicMs() + (isOfDatabase(error) ? awayMs : stuckMs));
        return false;
      })
      .then((more) => {
        running.delete(id);
        if (more) loop.wake();
      });
    running.set(id, run);
  }

  /** Batches until there is nothing left, or others had to wait for long enough. Answers whether there may be more. */
  async function turn(table: ViewTable, { place }: Filling, filler: Filler): Promise<boolean> {
    const untilMs = clock.monotonicMs() + turnMs;
    let looks = 0;
    while (!stopping.signal.aborted && clock.monotonicMs() < untilMs) {
      const startedMs = clock.monotonicMs();
      const step = await filler.next();
      if (step.outcome === 'busy') {
        looks += 1;
        if (looks >= busyLooks) return false;
        await clock.sleep(busyPauseMs, stopping.signal);
        continue;
      }
      if (step.outcome === 'elsewhere') {
        retryAtMs.set(`${table.schema}.${table.table}`, clock.monotonicMs() + elsewhereMs);
        return false;
      }
      const durationMs = clock.monotonicMs() - startedMs;
      const rests = step.outcome !== 'idle' && table.state === 'building';
      if (step.outcome === 'unwritten') {
        if (rests) await rest(durationMs);
        continue;
      }
      if (step.outcome === 'applied') tell(table, place, step);
      if (rests) await rest(durationMs);
      const isNear = step.head - step.position <= filler.batch;
      if (table.state === 'building' && settings.switches && isNear) {
        if (await trySwitch(place, filler.batch)) return true;
      }
      if (step.position >= step.head) return false;
    }
    return true;
  }

  /** Readers may hold the view for longer than a switch may wait: then it is tried again. */
  async function trySwitch(place: PlacedView, batch: number): Promise<boolean> {
    try {
      return (await switchView(databases, place, batch)).outcome === 'switched';
    } catch (error) {
      background.publish({ scope, what: `switch of view ${viewName(place)}`, error });
      return false;
    }
  }

  function tell(
    { table, version, state }: ViewTable,
    place: PlacedView,
    { position, head, commit }: Extract<Step, { readonly position: number }>,
  ): void {
    const isLive = state === 'live';
    options.onApplied?.({ view: viewName(place), table, version, isLive, position, head, commit });
  }

  async function rest(workedMs: number): Promise<void> {
    const { restShare } = settings;
    const restMs = (workedMs * restShare) / (1 - restShare);
    if (restMs >= 1) await clock.sleep(restMs, stopping.signal);
  }

  const loop = createLoop({
    name: 'builder of views',
    scope,
    pollMs,
    round,
    async onStart() {
      stopping = new AbortController();
      await prepareViews(databases, views);
    },
    onDrain: endRuns,
    onStop: endRuns,
  });
  async function endRuns(): Promise<void> {
    stopping.abort();
    await Promise.all(running.values());
    fillers.clear();
  }
  return loop;
}

/** With the last position of the log. */
type HeadedTable = ViewTable & { readonly head: number };

/** Those of the declared views that somebody fills, with the head of the log: of a moment before, in another database. */
async function filledTables(
  { database, log }: Databases,
  views: readonly PlacedView[],
): Promise<readonly HeadedTable[]> {
  const names = views.map(({ view }) => view.name);
  const schemas = views.map(({ schema }) => schema);
  const head =
    log === database ? sql`(select position from plimsoll.sequencer)` : sql`${await headOf(log)}::bigint`;
  return database.query(sql`
    select ${tableColumns}, ${head} as head from plimsoll.view_table
    where state <> 'retired' and (schema_name, view_name) in (select * from unnest(${schemas}::text[], ${names}::text[]))`);
}

/** What is not allowed of the settings, which are with their defaults. */
export function builderProblems(
  settings: Omit<ViewBuilderOptions, 'database' | 'views'>,
): readonly Problem[] {
  const limits = {
    pollMs: [10, 60_000],
    batch: [1, 100_000],
    targetMs: [10, 10_000],
    concurrency: [1, 100],
    restShare: [0, 0.95],
    statementTimeoutMs: [100, 600_000],
  } as const;
  return Object.entries(limits).flatMap(([path, [min, max]]) => {
    const value = settings[path as keyof typeof limits];
    const allowed = typeof value === 'number' && value >= min && value <= max;
    return allowed ? [] : [{ path, message: `is ${String(value)}; want a number from ${min} to ${max}` }];
  });
}
