import type { QueueLimits } from '../durable/limits.ts';
import type { AnyOperation } from '../modules/contract.ts';

/** What the contracts say of the jobs of their commands, by command. */
export function limitsOf(operations: Iterable<AnyOperation>): ReadonlyMap<string, QueueLimits> {
  const limits = new Map<string, QueueLimits>();
  for (const operation of operations)
    if (operation.kind === 'command' && operation.jobLimits !== undefined)
      limits.set(operation.id, operation.jobLimits);
  return limits;
}
