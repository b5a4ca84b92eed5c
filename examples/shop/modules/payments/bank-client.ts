import { createHttpClient, type HttpClient } from 'plimsoll/http-client';
import { z } from 'zod';

const accepted = z.object({ id: z.string() });
const refused = z.object({ reason: z.string() });

export type BankAnswer =
  | { readonly accepted: true; readonly bankId: string }
  | { readonly accepted: false; readonly reason: string };

export interface BankRequest {
  readonly path: '/charges' | '/refunds';
  /** The bank has one effect per key: what was asked before is answered again. */
  readonly key: string;
  readonly pence: number;
  readonly signal: AbortSignal;
}

export interface BankClient {
  /** Throws unless the bank gave an answer to the request itself; ask again with the same key. */
  ask(request: BankRequest): Promise<BankAnswer>;
}

/** A bank that is slow, down or ill must not become a shop that is: it holds so many calls, and so long, and no more. */
export const connectToBank = (origin: string): HttpClient =>
  createHttpClient({
    name: 'bank',
    origin,
    policy: {
      timeout: { ms: 2_000 },
      // Half of the answers are better than none, and an order that waits may ask every other second.
      breaker: { failureRatio: 0.8, maxBreakMs: 2_000 },
      bulkhead: { max: 20, maxWaiting: 100, maxWaitMs: 500 },
    },
  });

export function createBankClient(bank: HttpClient): BankClient {
  return {
    async ask({ path, key, pence, signal }) {
      // Safe to make again, because the bank knows the key: asked twice, it charges once.
      const answer = await bank.request('POST', path, { json: { pence }, idempotencyKey: key, signal });
      if (answer.status === 201) return { accepted: true, bankId: accepted.parse(answer.json()).id };
      if (answer.status === 402) return { accepted: false, reason: refused.parse(answer.json()).reason };
      throw new Error(
        `the bank answered ${path} ${key} with ${answer.status}: ${answer.text().slice(0, 200)}`,
      );
    },
  };
}
