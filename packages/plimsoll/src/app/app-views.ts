import type { Database } from '../database/database.ts';
import { createViewBuilder, type ViewBuilder } from '../views/builder.ts';
import { createViewReads, type ViewReads } from '../views/reads.ts';
import { listViews, type ViewStatus } from '../views/status.ts';
import type { Metric } from '../telemetry/metrics.ts';
import type { Plan } from './plan.ts';

/** The views of an app: who fills them, and who waits for them. */
export interface AppViews {
  readonly builder: ViewBuilder;
  readonly reads: ViewReads;
  /** Events were moved to the log by this process. */
  moved(): void;
  list(): Promise<readonly ViewStatus[]>;
}

/** Undefined where no module has a view. */
export function openAppViews(
  plan: Plan,
  { database, scope, wakeRelay }: { database: Database; scope: object; wakeRelay: () => void },
): AppViews | undefined {
  const views = plan.modules.flatMap((module) => module.views);
  if (views.length === 0) return undefined;
  const { waitMs, ...building } = plan.views ?? {};
  const builder = createViewBuilder({
    ...building,
    database,
    views,
    scope,
    onApplied: (applied) => reads.applied(applied),
  });
  const reads = createViewReads({
    database,
    views,
    wakeRelay,
    wakeBuilder: builder.wake,
    ...(waitMs === undefined ? {} : { waitMs }),
  });
  return {
    builder,
    reads,
    moved() {
      builder.wake();
      reads.moved();
    },
    list: () => listViews({ database, log: database }),
  };
}

/** How far each table is behind, and how often readers waited. */
export function viewGauges(
  list: readonly ViewStatus[],
  { asked, late, waitedMs }: ReturnType<ViewReads['state']>,
): readonly Metric[] {
  const perTable = (
    name: string,
    unit: string,
    description: string,
    value: (status: ViewStatus) => number,
  ): Metric => ({
    name,
    unit,
    description,
    kind: 'gauge',
    points: list
      .filter(({ state }) => state !== 'retired')
      .map((status) => ({
        attributes: { view: `${status.schema}.${status.name}`, version: status.version, state: status.state },
        value: value(status),
      })),
  });
  const counter = (name: string, unit: string, description: string, value: number): Metric => ({
    name,
    unit,
    description,
    kind: 'counter',
    points: [{ attributes: {}, value }],
  });
  return [
    perTable(
      'plimsoll.view.behind',
      '{event}',
      'Events of the log that a view has not applied.',
      (each) => each.behind,
    ),
    perTable(
      'plimsoll.view.lag',
      's',
      'Age of the oldest event that a view has not applied.',
      (each) => each.behindSeconds,
    ),
    perTable('plimsoll.view.stuck', '1', '1 while the next event of a view cannot be applied.', (each) =>
      each.failure === null ? 0 : 1,
    ),
    counter('plimsoll.view.reads', '{read}', 'Reads of views by those who had written.', asked),
    counter('plimsoll.view.reads.late', '{read}', 'Reads that were refused, as the view was too late.', late),
    counter('plimsoll.view.reads.wait', 's', 'Time that readers waited for views.', waitedMs / 1_000),
  ];
}
