import { OwnAttempt, plainAttempt, type Attempt } from '../kernel/attempt.ts';

/** One of several attempts one after another: its signal is that of what is around it. */
export class RepeatAttempt implements Attempt {
  readonly number: number;
  readonly #around: Attempt;
  #open = true;

  constructor(number: number, within: Attempt | undefined) {
    this.number = number;
    this.#around = within ?? plainAttempt;
  }

  get signal(): AbortSignal {
    return this.#around.signal;
  }

  get deadlineAtMs(): number | undefined {
    return this.#around.deadlineAtMs;
  }

  get repeats(): boolean {
    return this.#open;
  }

  end(): void {
    this.#open = false;
  }
}

/** One of two attempts beside each other: the one that loses is aborted alone. */
export class HedgedAttempt extends OwnAttempt {
  constructor(number: number, within: Attempt | undefined) {
    super(number, within ?? plainAttempt);
  }

  get deadlineAtMs(): number | undefined {
    return this.within?.deadlineAtMs;
  }

  get repeats(): boolean {
    return this.open;
  }
}
