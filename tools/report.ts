export interface Findings {
  readonly violations: readonly string[];
  /** What was looked at, in words with numbers. */
  readonly read: string;
}

/** Prints what a check found and sets the exit code. */
export function report({ violations, read }: Findings): void {
  for (const violation of violations) console.error(violation);
  console.log(violations.length === 0 ? read : `${read}, ${violations.length} violations`);
  if (violations.length > 0) process.exitCode = 1;
}
