import type { ViewStatus } from 'plimsoll/views';
import { table } from '../table.ts';

const number = (value: number): string => value.toLocaleString('en-US');

/** `1.2 s`, `3 min`, `2 h`: how long something has been, or will be. */
export function spanText(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  return `${Number((seconds / 3_600).toPrecision(2))} h`;
}

export function renderViews(tables: readonly ViewStatus[]): string {
  if (tables.length === 0) return 'no view has a table yet';
  const rows = tables.map((each) => [
    `${each.schema}.${each.name}`,
    each.version,
    each.failure === null ? each.state : `${each.state}, stuck`,
    ...(each.state === 'retired' ? ['', '', ''] : [each.position, each.behind, spanText(each.behindSeconds)]),
    each.table,
  ]);
  const building = tables.filter(({ state }) => state === 'building').map(describeBuild);
  const stuck = tables.filter(({ failure }) => failure !== null).map(describeStuck);
  const headings = ['view', 'version', 'state', 'position', 'behind', 'lag', 'table'];
  return [table(headings, rows), ...building, ...stuck].join('\n');
}

function describeBuild(status: ViewStatus): string {
  const { schema, name, version, position, head, built } = status;
  const events = built?.events ?? 0;
  return renderProgress(`${schema}.${name} version ${version}`, {
    done: events,
    total: events + head - position,
    eventsPerSecond: built?.eventsPerSecond ?? 0,
  });
}

export function describeStuck({ schema, name, version, failure }: ViewStatus): string {
  return `${schema}.${name} version ${version} cannot apply the event after position ${failure?.position}: ${failure?.message}`;
}

/** Of a table that is being built: how far, how fast, how long still. */
export interface BuildProgress {
  /** Events that are in it, of those that it is made from. */
  readonly done: number;
  readonly total: number;
  readonly eventsPerSecond: number;
}

export function renderProgress(view: string, { done, total, eventsPerSecond }: BuildProgress): string {
  const share = total === 0 ? 100 : Math.floor((100 * done) / total);
  const left = eventsPerSecond > 0 ? spanText((total - done) / eventsPerSecond) : '?';
  return `${view}: ${number(done)} of ${number(total)} events (${share} %), ${number(Math.round(eventsPerSecond))}/s, ${left} left`;
}
