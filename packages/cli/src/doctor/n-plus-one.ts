import type { OperationStatements, StatementCounts } from './app-window.ts';
import type { OperationCost, StatementFinding } from './finding.ts';
import { oneLine } from './statement-text.ts';
import { thresholds } from './thresholds.ts';

/** Upper bounds of `perExecution`, as `plimsoll` counts them; the last bucket has none. */
const bounds = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const limits = thresholds.nPlusOne;

export interface NPlusOneInput {
  readonly operations: readonly OperationStatements[];
  readonly windowMs: number;
  readonly operationCostOf: (text: string, operations: readonly string[]) => OperationCost | undefined;
  readonly verify: string;
}

/** Statements that one execution of an operation runs again and again. Writes in a loop count as well. */
export function findNPlusOne(input: NPlusOneInput): readonly StatementFinding[] {
  const { operations } = input;
  const totalMs = sum(operations.flatMap(({ statements }) => statements.map((one) => one.totalMs)));
  return operations.flatMap((operation) =>
    operation.statements
      .filter((statement) => isRepeated(operation, statement))
      .map((statement) => describe(operation, statement, totalMs, input)),
  );
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Executions in which it ran at least `limits.minRunsPerExecution` times. */
function repeatedIn({ perExecution }: StatementCounts): number {
  return sum(
    perExecution.filter((_count, bucket) => (bounds[bucket - 1] ?? 0) + 1 >= limits.minRunsPerExecution),
  );
}

function isRepeated({ executions }: OperationStatements, statement: StatementCounts): boolean {
  const repeated = repeatedIn(statement);
  return repeated >= limits.minExecutions && repeated >= limits.minShareOfExecutions * executions;
}

/** The statement whose rows the repeated one runs once for, if the counts tell. */
function driverOf(
  { statements }: OperationStatements,
  repeated: StatementCounts,
): StatementCounts | undefined {
  const candidates = statements
    .filter((one) => one !== repeated && one.rows > 0 && one.total > 0 && one.total < repeated.total)
    .map((one) => ({ one, error: Math.abs(repeated.total / one.rows - 1) }))
    .filter(({ error }) => error <= 0.1);
  return candidates.toSorted((a, b) => a.error - b.error)[0]?.one;
}

function describe(
  operation: OperationStatements,
  statement: StatementCounts,
  totalMs: number,
  { windowMs, verify, operationCostOf }: NPlusOneInput,
): StatementFinding {
  const cost = operationCostOf(statement.text, [operation.operation]);
  const seconds = windowMs / 1_000;
  const ran = sum(statement.perExecution);
  // An execution under way at the edge of the window can be counted on one side only.
  const executions = Math.max(operation.executions, ran);
  const perExecution = statement.total / ran;
  const meanMs = statement.totalMs / statement.total;
  const all = sum(operation.statements.map(({ total }) => total)) / executions;
  const saved = (statement.total - ran) / executions;
  const driver = driverOf(operation, statement);
  const spread = spreadOf(statement);
  return {
    rule: 'n-plus-one',
    title: `${operation.operation} runs one statement ${number(perExecution)} times in each execution`,
    operations: [operation.operation],
    statement: oneLine(statement.text),
    evidence: [
      `${statement.total.toLocaleString('en-US')} runs in ${ran.toLocaleString('en-US')} executions: ${spread}`,
      ...(driver === undefined
        ? []
        : [`once for each row of the statement before it: ${oneLine(driver.text)}`]),
    ],
    cost: {
      msPerCall: perExecution * meanMs,
      callsPerSecond: ran / seconds,
      share: totalMs === 0 ? 0 : statement.totalMs / totalMs,
      savedMsPerSecond: ((statement.total - ran) * meanMs) / seconds,
      ...(cost === undefined ? {} : { operation: cost }),
    },
    fix: {
      text: `in the handler of ${operation.operation}, collect the values and ask once${
        driver === undefined ? '' : ', or join it into the statement that gives the rows'
      }`,
      code: batchedHint(statement.text),
    },
    gain: { unit: 'statements per execution', before: round(all), after: round(all - saved) },
    proved: true,
    verify,
  };
}

function spreadOf({ perExecution }: StatementCounts): string {
  // A few that were under way at the edges of the window stand in a bucket that is not theirs.
  const least = Math.max(2, 0.05 * sum(perExecution));
  const used = perExecution.flatMap((count, bucket) => (count >= least ? [bucket] : []));
  const lowest = (bounds[(used[0] ?? 0) - 1] ?? 0) + 1;
  const last = used.at(-1) ?? 0;
  const highest = bounds[last];
  const range =
    highest === undefined
      ? `${lowest} or more`
      : lowest === highest
        ? `${lowest}`
        : `${lowest} to ${highest}`;
  return used.length > 1 ? `${range} times in one, so it grows with the data` : `${range} times in one`;
}

/** One query with `= any($1)` where the text shows which column to ask for. */
function batchedHint(text: string): string {
  const compared = /([\w."]+)\s*=\s*\$1(?!\d)/.exec(text)?.[1];
  if (/^\s*insert\b/i.test(text)) return 'insert into … select … from jsonb_to_recordset($1) as rows (…)';
  return compared === undefined
    ? 'one statement for all values: … = any($1)'
    : `… where ${compared} = any($1)   -- and ${compared} among the columns, to tell the rows apart`;
}

const number = (value: number): string => (value >= 10 ? value.toFixed(0) : String(round(value)));
const round = (value: number): number => Math.round(value * 10) / 10;
