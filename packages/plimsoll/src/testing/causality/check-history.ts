import { CausalityChecker, type Begun, type HandedOver } from './checker.ts';
import type { Operation, Violation } from './history.ts';

/**
 * The violations of a whole history, in the order in which the operations ended. Pure. Use {@link CausalityChecker}
 * while it happens, where it is too long to keep.
 */
export function checkHistory(history: readonly Operation[]): readonly Violation[] {
  const checker = new CausalityChecker({ keptViolations: Infinity });
  // Of what happened at one moment, that which began did not know of that which ended.
  const moments = history.flatMap((operation, index) => {
    const began = operation.began ?? 2 * index;
    const ended = operation.ended ?? Math.max(began, 2 * index + 1);
    if (ended < began)
      throw new RangeError(
        `operation ${index} of the history ended at ${ended}, before it began at ${began}`,
      );
    const step = stepsOf(checker, operation, began, ended);
    return [
      { at: began, order: 0, run: step.begin },
      { at: ended, order: 1, run: step.end },
    ];
  });
  moments.sort((one, other) => one.at - other.at || one.order - other.order);
  for (const { run } of moments) run();
  return checker.violations;
}

interface Step {
  readonly begin: () => void;
  readonly end: () => void;
}

function stepsOf(checker: CausalityChecker, operation: Operation, began: number, ended: number): Step {
  if (operation.kind === 'loss') return { begin: () => undefined, end: () => checker.lose(operation) };
  if (operation.kind === 'hand-over') {
    let handed: HandedOver | undefined;
    return {
      begin: () => void (handed = checker.handOver(operation.session)),
      end: () => void (handed === undefined || checker.take(operation.to, handed)),
    };
  }
  let begun: Begun | undefined;
  const answer = { ...operation, at: ended };
  return {
    begin: () => void (begun = checker.begin(operation.session, operation.key, began)),
    end() {
      if (begun === undefined) return;
      if (operation.kind === 'write') checker.endWrite(begun, { ...answer, version: operation.version });
      else checker.endRead(begun, { ...answer, version: operation.version });
    },
  };
}
