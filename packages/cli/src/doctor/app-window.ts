import type { AppTelemetry } from 'plimsoll';
import { DoctorError } from './doctor-error.ts';

export type OperationStatements = AppTelemetry['statementsPerOperation'][number];
export type StatementCounts = OperationStatements['statements'][number];
export type MissedInvalidation = NonNullable<AppTelemetry['cache']>['missed'][number];

/** What the app tells of itself, since its start. */
export interface AppReading {
  /** By operation. */
  readonly statements: readonly OperationStatements[];
  /** Empty where nothing is cached. */
  readonly missed: readonly MissedInvalidation[];
}

export async function readApp(target: string, signal: AbortSignal): Promise<AppReading> {
  const url = `${target}/-/telemetry`;
  const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]) }).catch(
    (cause: unknown) => {
      // Stopped, which says nothing of the app.
      signal.throwIfAborted();
      throw new DoctorError(
        'PL_DOCTOR_UNREACHABLE',
        `${url} does not answer; start the app first, with \`plimsoll start\`, or name it with --target`,
        { cause },
      );
    },
  );
  const body: unknown = answer.ok ? await answer.json().catch(() => undefined) : undefined;
  if (typeof body !== 'object' || body === null || !('statementsPerOperation' in body))
    throw new DoctorError(
      'PL_DOCTOR_UNREACHABLE',
      `${url} answered ${answer.status} without \`statementsPerOperation\`; the target has to be a Plimsoll app of this version or newer`,
    );
  const { statementsPerOperation, cache } = body as Pick<AppTelemetry, 'statementsPerOperation' | 'cache'>;
  return { statements: statementsPerOperation, missed: cache?.missed ?? [] };
}

/** What happened between two readings. An app that was started anew in between began at zero. */
export function appDelta(
  before: readonly OperationStatements[],
  after: readonly OperationStatements[],
): readonly OperationStatements[] {
  const earlier = new Map(before.map((operation) => [operation.operation, operation]));
  return after.map((now) => {
    const then = earlier.get(now.operation);
    if (then === undefined || then.executions > now.executions) return now;
    const texts = new Map(then.statements.map((statement) => [statement.text, statement]));
    return {
      operation: now.operation,
      executions: now.executions - then.executions,
      statements: now.statements.map((statement) => statementDelta(texts.get(statement.text), statement)),
    };
  });
}

function statementDelta(then: StatementCounts | undefined, now: StatementCounts): StatementCounts {
  if (then === undefined || then.total > now.total) return now;
  return {
    text: now.text,
    total: now.total - then.total,
    rows: now.rows - then.rows,
    totalMs: now.totalMs - then.totalMs,
    maxPerExecution: now.maxPerExecution,
    // An execution that was under way at the first reading has left its bucket: never below zero.
    perExecution: now.perExecution.map((count, bucket) =>
      Math.max(0, count - (then.perExecution[bucket] ?? 0)),
    ),
  };
}
