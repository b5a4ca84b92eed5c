import { operations, queries } from '../kernel/channels.ts';
import { currentContext, type RequestContext } from '../kernel/context.ts';

/** One statement text within one operation, since the start. */
export interface StatementCounts {
  /** SQL with placeholders; never the values. */
  readonly text: string;
  /** How often it ran, over all executions of the operation. */
  readonly total: number;
  readonly rows: number;
  /** Sum over all runs, as the app saw them: with the way to the server and back. */
  readonly totalMs: number;
  /** Most runs within one execution. */
  readonly maxPerExecution: number;
  /**
   * Executions by how often the text ran in one of them: once, twice, 3 to 4, 5 to 8, …, over 256; the
   * bounds are `executionBuckets`. Executions in which it never ran are not here.
   */
  readonly perExecution: readonly number[];
}

/** What `/-/telemetry` answers as `statementsPerOperation`. */
export interface OperationStatements {
  readonly operation: string;
  /** Executions that have ended, however they ended. */
  readonly executions: number;
  readonly statements: readonly StatementCounts[];
}

/** Upper bounds of `perExecution`; the last bucket has none. */
export const executionBuckets: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

export interface StatementCounter {
  snapshot(): readonly OperationStatements[];
  stop(): void;
}

/** Beyond these, what is new goes uncounted: an app that builds SQL text from values must not fill the memory. */
const maxOperations = 500;
const maxTextsPerOperation = 100;
const maxTextLength = 2_000;

interface Series {
  readonly text: string;
  total: number;
  rows: number;
  totalMs: number;
  maxPerExecution: number;
  readonly perExecution: number[];
}

interface Operation {
  executions: number;
  /** By the whole text of the statement as far as it is kept. */
  readonly series: Map<string, Series>;
}

function bucketOf(count: number): number {
  const index = executionBuckets.findIndex((bound) => count <= bound);
  return index === -1 ? executionBuckets.length : index;
}

/** A copy, because a slice of a statement of megabytes would keep the whole of it in memory. */
const beginningOf = (text: string): string =>
  text.length <= maxTextLength ? text : Buffer.from(`${text.slice(0, maxTextLength)}…`).toString();

/**
 * Counts how often each statement runs within one execution of an operation of one app. The request context is
 * the execution: `enterOperation` makes a new object for each, and every statement of a handler runs in it.
 * Needs no end of the execution: with each further run it moves from one bucket to the next.
 */
export function countStatements(scope: object): StatementCounter {
  const byOperation = new Map<string, Operation>();

  function operationOf(name: string): Operation | undefined {
    let found = byOperation.get(name);
    if (found === undefined && byOperation.size < maxOperations) {
      found = { executions: 0, series: new Map() };
      byOperation.set(name, found);
    }
    return found;
  }

  function seriesOf(operation: Operation, text: string): Series | undefined {
    let found = operation.series.get(text);
    if (found === undefined && operation.series.size < maxTextsPerOperation) {
      const perExecution = Array.from({ length: executionBuckets.length + 1 }, () => 0);
      found = { text, total: 0, rows: 0, totalMs: 0, maxPerExecution: 0, perExecution };
      operation.series.set(text, found);
    }
    return found;
  }

  function countOnce(series: Series, context: RequestContext): void {
    const counts = (context.statementRuns ??= new Map());
    const count = (counts.get(series) ?? 0) + 1;
    counts.set(series, count);
    series.maxPerExecution = Math.max(series.maxPerExecution, count);
    const [before, now] = [count === 1 ? undefined : bucketOf(count - 1), bucketOf(count)];
    if (before === now) return;
    if (before !== undefined) series.perExecution[before] = (series.perExecution[before] ?? 0) - 1;
    series.perExecution[now] = (series.perExecution[now] ?? 0) + 1;
  }

  const stopQueries = queries.subscribe((message) => {
    // Work of the app itself, such as claiming tasks, belongs to no operation.
    if (message.scope !== scope || message.operation === undefined) return;
    const context = currentContext();
    const operation = operationOf(message.operation);
    if (context === undefined || operation === undefined) return;
    const series = seriesOf(operation, beginningOf(message.text));
    if (series === undefined) return;
    series.total += 1;
    series.rows += message.rows;
    series.totalMs += message.durationMs;
    countOnce(series, context);
  });
  const stopOperations = operations.subscribe((message) => {
    if (message.scope !== scope) return;
    const operation = operationOf(message.operation);
    if (operation !== undefined) operation.executions += 1;
  });

  return {
    snapshot: () =>
      [...byOperation].map(([operation, { executions, series }]) => ({
        operation,
        executions,
        statements: [...series.values()].map((one) => ({ ...one, perExecution: [...one.perExecution] })),
      })),
    stop() {
      stopQueries();
      stopOperations();
    },
  };
}
