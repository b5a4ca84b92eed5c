import type { App } from '../app/app.ts';
import { systemClock } from '../kernel/clock.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { isReadingLog } from '../outbox/feed.ts';
import { sagasAtRest } from '../saga/read.ts';

/**
 * Resolves when everything that was set off has happened: the app has no event to relay, no task that is still to run,
 * no live view behind the log, no subscription that is being given events of it, and no saga that an event is about to
 * wake. Sagas may wait for what is not there yet. Rejects after `timeoutMs` (default 20_000), saying what was left, and
 * at once when a task is parked, a saga is stuck or a view cannot go on.
 */
export async function untilIdle(app: App, options: { readonly timeoutMs?: number } = {}): Promise<void> {
  const timeoutMs = options.timeoutMs ?? 20_000;
  const deadline = systemClock.monotonicMs() + timeoutMs;
  // One look is several statements, and what moves on between two of them is in neither: so it must be idle twice.
  let wasIdle = false;
  for (;;) {
    const counts = await app.taskCounts();
    if (counts.parked > 0)
      throw new PlimsollError(
        'PL_LIFECYCLE',
        `${counts.parked} tasks are parked; see last_error in plimsoll.task`,
      );
    const views = (await app.views()).filter(({ state }) => state === 'live');
    const stuck = views.find(({ failure }) => failure !== null);
    if (stuck !== undefined)
      throw new PlimsollError(
        'PL_LIFECYCLE',
        `the view ${stuck.schema}.${stuck.name} cannot go on: ${stuck.failure?.message}`,
      );
    const behind = Math.max(0, ...views.map((view) => view.behind));
    const tasks = counts.ready + counts.running + counts.scheduled + counts.waiting;
    const reading = await isReadingLog(app.database);
    const sagas = await sagasAtRest(app.database);
    if (sagas.stuck > 0)
      throw new PlimsollError(
        'PL_LIFECYCLE',
        `${sagas.stuck} sagas are stuck; see listSagas(app.database, { state: 'stuck' })`,
      );
    if (counts.outbox + tasks + behind + sagas.toWake === 0 && !reading) {
      if (wasIdle) return;
      wasIdle = true;
      continue;
    }
    wasIdle = false;
    if (systemClock.monotonicMs() > deadline) {
      throw new PlimsollError(
        'PL_LIFECYCLE',
        [
          `not idle after ${timeoutMs} ms: ${counts.outbox} events and ${tasks} tasks are left`,
          ...(behind > 0 ? [`a view is ${behind} events behind`] : []),
          ...(reading ? ['a subscription is being given events of the log'] : []),
          ...(sagas.toWake > 0 ? [`${sagas.toWake} waits of sagas have their event`] : []),
        ].join(', and '),
        { data: { ...counts } },
      );
    }
    await systemClock.sleep(10);
  }
}
