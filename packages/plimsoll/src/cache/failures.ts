/** Keys whose last load failed, at most. */
const mostKeys = 1_000;

interface Failure {
  readonly error: unknown;
  readonly untilMs: number;
}

/** Loads that failed a moment ago and are not tried again yet: who asks meanwhile gets the same error. */
export class Failures {
  readonly #byKey = new Map<string, Failure>();

  /** From now on, whatever was before. */
  note(key: string, error: unknown, nowMs: number, forMs: number): void {
    this.#byKey.delete(key);
    if (forMs <= 0) return;
    this.#byKey.set(key, { error, untilMs: nowMs + forMs });
    if (this.#byKey.size > mostKeys) {
      const [oldest] = this.#byKey.keys();
      if (oldest !== undefined) this.#byKey.delete(oldest);
    }
  }

  find(key: string, nowMs: number): Failure | undefined {
    if (this.#byKey.size === 0) return undefined;
    const failure = this.#byKey.get(key);
    if (failure === undefined || nowMs < failure.untilMs) return failure;
    this.#byKey.delete(key);
    return undefined;
  }

  forget(key: string): void {
    if (this.#byKey.size > 0) this.#byKey.delete(key);
  }
}
