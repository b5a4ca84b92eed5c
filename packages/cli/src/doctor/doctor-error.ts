/** Stable codes of what keeps the doctor from examining anything. */
export type DoctorErrorCode =
  | 'PL_DOCTOR_UNREACHABLE' // the app or its database does not answer
  | 'PL_DOCTOR_IDLE'; // no operation ran while it watched

export class DoctorError extends Error {
  override readonly name = 'DoctorError';
  readonly code: DoctorErrorCode;

  constructor(code: DoctorErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
