export interface Row {
  readonly case: string;
  readonly subject: string;
  readonly metric: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

export interface AreaOptions {
  readonly rounds?: number;
  /** One of the area's `parts`. Default: all. */
  readonly only?: string;
  readonly timeLeftMs: () => number;
  readonly say: (line: string) => void;
}

export interface AreaResult {
  readonly rows: readonly Row[];
  /** How each subject was set up, in a sentence. */
  readonly settings: Readonly<Record<string, string>>;
  /** Every measurement, in the order it was taken. */
  readonly raw: unknown;
}

export type Area = (options: AreaOptions) => Promise<AreaResult>;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export function rowOf(of: Pick<Row, 'case' | 'subject' | 'metric' | 'unit'>, values: readonly number[]): Row {
  return {
    ...of,
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    rounds: values.length,
  };
}

/** In random order, so that no subject always runs after the same one. */
export function shuffled<T>(items: readonly T[]): T[] {
  const mixed = [...items];
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other] as T, mixed[last] as T];
  }
  return mixed;
}

export function printTable(
  result: {
    readonly area: string;
    readonly date: string;
    readonly machine: object;
    readonly rows: readonly Row[];
  },
  settings: Readonly<Record<string, string>>,
): void {
  console.log(`${result.area}, ${result.date}, ${Object.values(result.machine).join(', ')}\n`);
  const short = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
  const cells = result.rows.map((row) => [
    row.case,
    row.subject,
    row.metric,
    `${short(row.median)} ${row.unit}`,
    `${short(row.min)} .. ${short(row.max)}`,
    String(row.rounds),
  ]);
  const all = [['case', 'subject', 'metric', 'median', 'min .. max', 'rounds'], ...cells];
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  for (const row of all)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  console.log('');
  for (const [subject, setting] of Object.entries(settings)) console.log(`${subject}: ${setting}`);
}
