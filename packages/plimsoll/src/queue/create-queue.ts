import { IteratedQueue, type ConsumedQueue } from './consumers.ts';
import { queueSettings, type HandledQueueOptions, type QueueOptions } from './options.ts';
import { BoundedQueue, type Queue } from './queue.ts';

/**
 * With a handler, runs it for each item; without one, iterate over the queue. PL_CONFIG names every option that is
 * not allowed.
 */
export function createQueue<Item, Result>(options: HandledQueueOptions<Item, Result>): Queue<Item, Result>;
export function createQueue<Item>(options: QueueOptions<Item>): ConsumedQueue<Item>;
export function createQueue<Item, Result>(
  options: QueueOptions<Item> & Partial<HandledQueueOptions<Item, Result>>,
): Queue<Item, Result> | ConsumedQueue<Item> {
  const { handler } = options;
  const settings = queueSettings(options);
  if (handler === undefined) return new IteratedQueue(settings);
  const queue: BoundedQueue<Item, Result> = new BoundedQueue(settings, settings.concurrency, {
    begin: handler,
    end(weight) {
      queue.ended(weight);
      queue.permits.give(weight);
    },
  });
  return queue;
}
