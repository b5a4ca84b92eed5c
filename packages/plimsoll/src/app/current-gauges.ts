import type { Database } from '../database/database.ts';
import { eventLag } from '../outbox/lag.ts';
import { countSagas } from '../saga/read.ts';
import type { Metric } from '../telemetry/metrics.ts';
import { appGauges, routingGauges, sagaGauges } from './app-gauges.ts';
import { viewGauges, type AppViews } from './app-views.ts';
import { eventGauges } from './event-gauges.ts';
import { countTasks } from './task-counts.ts';

/**
 * What an app tells at each scrape. A database that is down is when numbers are wanted most: what has to be asked of
 * it is left out then.
 */
export async function currentGauges(of: {
  readonly database: Database;
  readonly inFlight: number;
  readonly hasSagas: boolean;
  readonly views: AppViews | undefined;
}): Promise<readonly Metric[]> {
  const { database, inFlight, hasSagas, views } = of;
  const [tasks, lag, sagas, tables] = await Promise.all([
    countTasks(database).catch(() => undefined),
    eventLag(database).catch(() => undefined),
    hasSagas ? countSagas(database).catch(() => undefined) : undefined,
    views?.list().catch(() => undefined),
  ]);
  return [
    ...appGauges(database.pools(), inFlight, tasks),
    ...(lag === undefined ? [] : eventGauges(lag)),
    ...sagaGauges(sagas),
    ...routingGauges(database.routing()),
    ...(views === undefined ? [] : viewGauges(tables ?? [], views.reads.state())),
  ];
}
