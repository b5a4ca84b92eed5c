/** A wake-up that is never lost: `notify` before `wait` makes the next `wait` return at once. Notifications merge. */
export interface Signal {
  readonly notify: () => void;
  /** Resolves at the next notification, or after `timeoutMs`. */
  wait(timeoutMs: number): Promise<void>;
}

export function createSignal(): Signal {
  // A notification nobody has waited for yet.
  let pending = false;
  let wake: (() => void) | undefined;
  return {
    notify() {
      pending = true;
      wake?.();
    },
    async wait(timeoutMs) {
      if (!pending) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, timeoutMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = undefined;
      }
      pending = false;
    },
  };
}
