/** A saga's own decision to fail, thrown by its code; made by `run.fail`. Everything that is done is undone. */
export class SagaFailure extends Error {
  override readonly name = 'SagaFailure';
  readonly error: string;
  readonly data: unknown;

  constructor(error: string, data: unknown) {
    super(`the saga fails with ${error}`);
    this.error = error;
    this.data = data;
  }
}

/** What this run of the saga believed is no longer so: somebody else wrote meanwhile. It is looked at again. */
export class Superseded extends Error {
  override readonly name = 'Superseded';
}

/** The transaction that had the record of a step failed. The code has gone on with it, and has to be run again. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
  readonly place: string;

  constructor(place: string, cause: unknown) {
    super(`the transaction of the step at ${place} failed`, { cause });
    this.place = place;
  }
}

/** An error as a row keeps it. */
export interface Trouble {
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
}

export function troubleOf(error: unknown): Trouble {
  if (!(error instanceof Error)) return { message: String(error) };
  return {
    message: error.message.slice(0, 2_000),
    ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
    ...(error.stack === undefined ? {} : { stack: error.stack.slice(0, 4_000) }),
  };
}
