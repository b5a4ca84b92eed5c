/** Every error of this package: what it was doing, the value, what is allowed, what to do. */
export type EmbeddedErrorCode =
  | 'PL_EMBEDDED_OPTIONS'
  | 'PL_EMBEDDED_PLATFORM'
  | 'PL_EMBEDDED_BINARIES'
  | 'PL_EMBEDDED_USER'
  | 'PL_EMBEDDED_DATA_DIR'
  | 'PL_EMBEDDED_IN_USE'
  | 'PL_EMBEDDED_PORT'
  | 'PL_EMBEDDED_START'
  | 'PL_EMBEDDED_STOPPED'
  | 'PL_EMBEDDED_REPLICA'
  | 'PL_EMBEDDED_TIMEOUT'
  | 'PL_EMBEDDED_DATABASE';

export class EmbeddedError extends Error {
  override readonly name = 'EmbeddedError';
  readonly code: EmbeddedErrorCode;

  constructor(code: EmbeddedErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node or PostgreSQL error, such as `ENOENT` or `57P01`. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
