import { randomUUID } from 'node:crypto';

/**
 * A UUID of version 7 (RFC 9562): the milliseconds first, so that new rows land side by side in the index of the ids;
 * then 74 random bits, so that nobody guesses one.
 */
export function newTaskId(nowMs: number = Date.now()): string {
  const time = Math.trunc(nowMs).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}
