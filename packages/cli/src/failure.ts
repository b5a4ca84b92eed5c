/** The command line itself was wrong; exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * What to print of a failure. Errors with a code of ours explain themselves; for others the stack is what
 * helps. `PLIMSOLL_DEBUG` shows the stack of all.
 */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const explained =
    error instanceof UsageError ||
    ('code' in error && typeof error.code === 'string' && error.code.startsWith('PL_'));
  if (!explained || process.env['PLIMSOLL_DEBUG'] !== undefined) return error.stack ?? error.message;
  const cause =
    error.cause instanceof Error && !error.message.includes(error.cause.message)
      ? `\n  cause: ${error.cause.message}`
      : '';
  return `${error.message}${cause}`;
}

/** A number from the command line; says what is allowed. */
export function numberOption(
  name: string,
  text: string | boolean | undefined,
  limits: { readonly min: number; readonly max: number },
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (typeof text === 'string' && text.trim() !== '' && value >= limits.min && value <= limits.max)
    return value;
  throw new UsageError(
    `--${name} is ${JSON.stringify(text)}; want a number from ${limits.min} to ${limits.max}`,
  );
}
