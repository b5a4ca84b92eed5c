import type { TraceNode } from 'plimsoll/outbox';

/** One line for each thing that happened, under what set it off. */
export function renderTrace(roots: readonly TraceNode[]): string {
  return roots.flatMap((root) => [line(root), ...below(root, '')]).join('\n');
}

function below({ effects }: TraceNode, indent: string): string[] {
  return effects.flatMap((effect, index) => {
    const last = index === effects.length - 1;
    return [
      `${indent}${last ? '└─ ' : '├─ '}${line(effect)}`,
      ...below(effect, `${indent}${last ? '   ' : '│  '}`),
    ];
  });
}

function line({ kind, name, state, at, data }: TraceNode): string {
  const { task: _task, ...told } = data;
  const more = Object.entries(told)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [at === null ? undefined : time(at), kind, name, state, ...more].filter(Boolean).join('  ');
}

/** To the millisecond, in UTC. */
export function time(at: string): string {
  return new Date(at).toISOString().replace('T', ' ');
}
