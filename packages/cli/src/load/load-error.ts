/** Stable codes of what stops a run before it can measure anything. */
export type LoadErrorCode =
  | 'PL_LOAD_OPTIONS' // the options contradict themselves; every problem is listed
  | 'PL_LOAD_REMOTE' // the target is not this machine
  | 'PL_LOAD_UNREACHABLE' // nothing answers at the target
  | 'PL_LOAD_PREFLIGHT'; // an operation of the scenario answers with errors before any load

export class LoadError extends Error {
  override readonly name = 'LoadError';
  readonly code: LoadErrorCode;

  constructor(code: LoadErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
