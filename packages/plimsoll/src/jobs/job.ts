import type { NewTask, OnDuplicate } from '../durable/task.ts';
import type { RequestContext } from '../kernel/context.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';

/** How a job is run. */
export interface JobOptions {
  /** Run not before this many milliseconds from now. Default 0. */
  readonly delayMs?: number;
  /** Run not before this moment, by the clock of the database; instead of `delayMs`. */
  readonly runAt?: Date;
  /** Tries before the job is parked. Default: those of the command, else 20. */
  readonly maxAttempts?: number;
  /** Whom the job is for: a tenant, an account at a provider. Where its name has limits or turns, they count by it. */
  readonly groupKey?: string;
  /**
   * At most one job of a name and key that no worker has taken yet. Another one is not written: the one that is there is
   * kept (`keep`, the default), gets the new input (`replace`), or the new input and time (`debounce`). A job that has
   * begun does not count, nor one that is to be tried again.
   */
  readonly unique?: { readonly key: string; readonly onDuplicate?: OnDuplicate };
  /** Time limit of one try, milliseconds. Default: that of the command. */
  readonly timeoutMs?: number;
  /** Whether `jobStatus` tells the result when it is done, until `forgetReceipts`. Default false. */
  readonly keepResult?: boolean;
  /** Lower first, among jobs of one name; -32768 to 32767. Default 0. */
  readonly priority?: number;
  /**
   * Jobs of one name and order key run one at a time, in the order in which their transactions committed, through
   * retries and crashes too. Writers of one key wait for each other until they commit. Default: no order.
   */
  readonly orderKey?: string;
  /** Whether a job that is parked holds up those behind it in its order key, or lets them pass. Default `block`. */
  readonly onPark?: 'block' | 'skip';
}

export interface JobRequest extends JobOptions {
  readonly id: string;
  /** The command's id. */
  readonly name: string;
  readonly input: unknown;
}

export const jobDefaults = { delayMs: 0, maxAttempts: 20 } as const;

/** A job is a command called later: a task that carries its input and who asked. */
export function newJob(context: RequestContext, request: JobRequest): NewTask {
  const { correlationId, causationId, caller } = context;
  const { id, name, input, unique, ...options } = { ...jobDefaults, ...request };
  throwIfProblems(`the job ${name}`, jobProblems({ ...options, unique }));
  return {
    ...options,
    id,
    kind: 'job',
    name,
    payload: input ?? null,
    uniqueKey: unique?.key,
    correlationId,
    causationId,
    caller,
  };
}

const isWhole = (value: number, least: number, most: number): boolean =>
  Number.isInteger(value) && value >= least && value <= most;

type Unchecked<T> = { readonly [K in keyof T]?: T[K] | undefined };

const onDuplicates: readonly OnDuplicate[] = ['keep', 'replace', 'debounce'];

/** What is wrong with options of a job. */
export function jobProblems(options: Unchecked<JobOptions>): Problem[] {
  const { delayMs, runAt, maxAttempts, timeoutMs, priority, onPark, unique } = options;
  const keys = { orderKey: options.orderKey, groupKey: options.groupKey, 'unique.key': unique?.key };
  const wrong = (path: string, value: unknown, want: string): Problem => ({
    path,
    message: `is ${JSON.stringify(value) ?? String(value)}; ${want}`,
  });
  return [
    ...(delayMs === undefined || Number.isFinite(delayMs)
      ? []
      : [wrong('delayMs', String(delayMs), 'give milliseconds')]),
    ...(runAt === undefined || Number.isFinite(runAt.getTime())
      ? []
      : [wrong('runAt', runAt, 'give a valid Date')]),
    ...(maxAttempts === undefined || isWhole(maxAttempts, 1, 2 ** 31 - 1)
      ? []
      : [wrong('maxAttempts', maxAttempts, 'give a whole number from 1')]),
    ...(timeoutMs === undefined || isWhole(timeoutMs, 1, 2 ** 31 - 1)
      ? []
      : [wrong('timeoutMs', timeoutMs, 'give whole milliseconds from 1')]),
    ...(priority === undefined || isWhole(priority, -32_768, 32_767)
      ? []
      : [wrong('priority', priority, 'give a whole number from -32768 to 32767')]),
    ...Object.entries(keys)
      .filter(([, key]) => key !== undefined && (typeof key !== 'string' || key === '' || key.length > 512))
      .map(([path, key]) => wrong(path, key, 'give a text of 1 to 512 characters')),
    ...(unique?.onDuplicate === undefined || onDuplicates.includes(unique.onDuplicate)
      ? []
      : [wrong('unique.onDuplicate', unique.onDuplicate, `give one of ${onDuplicates.join(', ')}`)]),
    ...(onPark === undefined || onPark === 'block' || onPark === 'skip'
      ? []
      : [wrong('onPark', onPark, 'give "block" or "skip"')]),
  ];
}
