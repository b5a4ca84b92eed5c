import { createNodeRedisClient, Queue, type ConnectionOptions, type IRedisClient } from 'bullmq';
import { systemClock } from '../kernel/clock.ts';
import { throwIfProblems, type Problem } from '../kernel/errors.ts';
import { createTimeout } from '../timeout/timeout.ts';
import type { BullQueue } from './job-data.ts';

export interface QueuesOptions {
  readonly connection: ConnectionOptions;
  readonly names: readonly string[];
  readonly prefix: string;
  readonly answerMs: number;
}

/** The queues of BullMQ, one for each name; made when they are first asked. */
export interface Queues {
  readonly names: ReadonlySet<string>;
  readonly connection: ConnectionOptions;
  readonly prefix: string;
  /**
   * Asks the queue of a name, which is one of {@link names}. Waits for a connection, so that no commands pile up in the
   * client while there is none. Rejects with PL_TIMEOUT after `answerMs` or with the caller's deadline; what was sent
   * by then may be done later.
   */
  ask<T>(name: string, work: (queue: BullQueue, client: IRedisClient) => Promise<T>): Promise<T>;
  /** The first name for which `find` finds something. */
  search<T>(
    find: (queue: BullQueue, client: IRedisClient) => Promise<T | undefined>,
  ): Promise<{ readonly name: string; readonly found: T } | undefined>;
  close(): Promise<void>;
}

export function createQueues(options: QueuesOptions): Queues {
  const { prefix, answerMs } = options;
  throwIfProblems('the jobs over BullMQ', queueProblems(options));
  const names = new Set(options.names);
  const connection = sharedConnection(options.connection);
  const answer = createTimeout({ name: 'Redis', ms: answerMs });
  const queues = new Map<string, BullQueue>();

  function queueOf(name: string): BullQueue {
    const known = queues.get(name);
    if (known !== undefined) return known;
    const queue: BullQueue = new Queue(name, { connection, prefix });
    // Whoever asks is told; the rest are those of the client, whose owner listens.
    queue.on('error', () => undefined);
    queues.set(name, queue);
    return queue;
  }

  const ask: Queues['ask'] = (name, work) =>
    answer.run(async ({ signal }) => {
      const queue = queueOf(name);
      const client = await queue.getBackend().client;
      while (!isConnected(client) && !signal.aborted) await systemClock.sleep(20, signal);
      // Given up by whoever waited: not to be sent any more.
      signal.throwIfAborted();
      return work(queue, client);
    });

  return {
    names,
    connection,
    prefix,
    ask,
    async search(find) {
      const all = await Promise.all([...names].map(async (name) => ({ name, found: await ask(name, find) })));
      for (const { name, found } of all) if (found !== undefined) return { name, found };
      return undefined;
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
      queues.clear();
    },
  };
}

/** An ioredis cluster never gets beyond `connect`. */
function isConnected({ status, isCluster }: IRedisClient): boolean {
  return status === 'ready' || (isCluster && status === 'connect');
}

const wrapped = new WeakMap<object, ConnectionOptions>();

/** BullMQ would wrap a client of node-redis once for each queue, each time with listeners of its own. */
function sharedConnection(connection: ConnectionOptions): ConnectionOptions {
  if (!('sendCommand' in connection) || !('isReady' in connection) || 'defineCommand' in connection)
    return connection;
  const known =
    wrapped.get(connection) ??
    createNodeRedisClient(connection as unknown as Parameters<typeof createNodeRedisClient>[0]);
  wrapped.set(connection, known);
  return known;
}

function queueProblems({ names, answerMs }: QueuesOptions): Problem[] {
  return [
    ...(names.length > 0 ? [] : [{ path: 'names', message: 'is empty; list the names of all jobs' }]),
    ...names
      .filter((name) => name === '' || name.includes(':'))
      .map((name) => ({
        path: 'names',
        message: `has ${JSON.stringify(name)}; give names that are not empty and have no ":", which BullMQ keeps for itself`,
      })),
    ...(Number.isFinite(answerMs) && answerMs > 0
      ? []
      : [{ path: 'answerMs', message: `is ${answerMs}; give milliseconds above 0` }]),
  ];
}
