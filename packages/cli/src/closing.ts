/** What is to be closed, the last first: AsyncDisposableStack, which Node 22 does not have. */
export class Closing implements AsyncDisposable {
  #steps: (() => unknown)[] = [];

  defer(step: () => unknown): void {
    this.#steps.push(step);
  }

  use<T extends AsyncDisposable>(value: T): T {
    this.defer(() => value[Symbol.asyncDispose]());
    return value;
  }

  /** Gives what there is to another, so that the end of this one closes nothing. */
  move(): Closing {
    const moved = new Closing();
    moved.#steps = this.#steps;
    this.#steps = [];
    return moved;
  }

  /** Closes all, also when one fails; then throws the first failure. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (const step of this.#steps.splice(0).toReversed()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
