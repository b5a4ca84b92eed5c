import type { ViewStatus } from 'plimsoll/views';

const number = (value: number): string => value.toLocaleString('en-US');

/** `1.2 s`, `3 min`, `2 h`: how long something has been, or will be. */
export function spanText(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  return `${Number((seconds / 3_600).toPrecision(2))} h`;
}

/** Columns under their headings; the numeric ones to the right. */
export function renderTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  numeric: ReadonlySet<number>,
): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return [headings, ...rows]
    .map((row) =>
      row
        .map((cell, column) =>
          numeric.has(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function renderViews(tables: readonly ViewStatus[]): string {
  if (tables.length === 0) return 'no view has a table yet';
  const rows = tables.map((each) => [
    `${each.schema}.${each.name}`,
    String(each.version),
    each.failure === null ? each.state : `${each.state}, stuck`,
    each.state === 'retired' ? '' : number(each.position),
    each.state === 'retired' ? '' : number(each.behind),
    each.state === 'retired' ? '' : spanText(each.behindSeconds),
    each.table,
  ]);
  const table = renderTable(
    ['view', 'version', 'state', 'position', 'behind', 'lag', 'table'],
    rows,
    new Set([1, 3, 4, 5]),
  );
  const stuck = tables.filter(({ failure }) => failure !== null).map(describeStuck);
  return [table, ...stuck].join('\n');
}

export function describeStuck({ schema, name, version, failure }: ViewStatus): string {
  return `${schema}.${name} version ${version} cannot apply the event after position ${failure?.position}: ${failure?.message}`;
}

/** Of a table that is being built: how far, how fast, how long still. */
export interface BuildProgress {
  readonly position: number;
  readonly head: number;
  readonly eventsPerSecond: number;
}

export function renderProgress(view: string, { position, head, eventsPerSecond }: BuildProgress): string {
  const share = head === 0 ? 100 : Math.floor((100 * position) / head);
  const left = eventsPerSecond > 0 ? spanText((head - position) / eventsPerSecond) : '?';
  return `${view}: ${number(position)} of ${number(head)} events (${share} %), ${number(Math.round(eventsPerSecond))}/s, ${left} left`;
}
