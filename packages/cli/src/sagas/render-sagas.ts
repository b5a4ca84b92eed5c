import type { HistoryRow, SagaDetails, SagaSummary } from 'plimsoll/saga';
import { table } from '../table.ts';

/** `2026-03-01 12:00:00`, in UTC. */
const time = (iso: string): string => iso.slice(0, 19).replace('T', ' ');

export function renderSagas(sagas: readonly SagaSummary[]): string {
  if (sagas.length === 0) return 'no such saga';
  return table(
    ['saga', 'v', 'state', 'at', 'started (UTC)', 'next (UTC)', 'trouble'],
    sagas.map((saga) => [
      saga.id,
      String(saga.version),
      saga.state === 'stuck' && saga.undoing ? 'stuck, undoing' : saga.state,
      saga.at.join(', '),
      time(saga.startedAt),
      saga.nextAt === null ? '' : time(saga.nextAt),
      saga.trouble?.message ?? saga.error?.error ?? '',
    ]),
    100,
  );
}

export function renderSaga(saga: SagaDetails): string {
  const facts: (readonly [string, string])[] = [
    ['saga', `${saga.id} (version ${saga.version})`],
    ['state', saga.state === 'stuck' && saga.undoing ? 'stuck, while it is being undone' : saga.state],
    ['started', `${time(saga.startedAt)} UTC, by request ${saga.correlationId}`],
    ...(saga.parent === null ? [] : [['parent', saga.parent] as const]),
    ...(saga.erasedAt === null
      ? []
      : [['erased', `${time(saga.erasedAt)} UTC, what it was given and what came of it`] as const]),
    ...(saga.nextAt === null ? [] : [['next', `${time(saga.nextAt)} UTC`] as const]),
    ...(saga.input === undefined ? [] : [['input', JSON.stringify(saga.input)] as const]),
    ...(saga.result === undefined ? [] : [['result', JSON.stringify(saga.result)] as const]),
    ...(saga.error === null
      ? []
      : [['failed with', `${saga.error.error} ${JSON.stringify(saga.error.data) ?? ''}`] as const]),
    ...(saga.trouble === null ? [] : [['trouble', saga.trouble.message] as const]),
  ];
  const names = new Map(saga.history.flatMap(({ place, name }) => (name === null ? [] : [[place, name]])));
  const rows = saga.history.map((row) => [
    time(new Date(row.atMs).toISOString()),
    row.place,
    row.kind.replace('_', ' '),
    row.name ?? names.get(row.place) ?? row.operation ?? '',
    detailOf(row),
  ]);
  return [
    ...facts.map(([name, value]) => `${name.padEnd(12)}${value}`),
    '',
    table(['at (UTC)', 'place', 'what', 'name', 'detail'], rows, 100),
  ].join('\n');
}

function detailOf(row: HistoryRow): string {
  if (row.who !== null) return `by ${row.who}: ${row.why ?? ''}`;
  if (row.error !== null) return row.error.message;
  const value = row.output?.value ?? row.input?.value;
  const undo = row.compensation === null ? '' : `  (undone by ${row.compensation.operation})`;
  return `${value === undefined ? '' : JSON.stringify(value)}${undo}`;
}
