import { createPolicy } from 'plimsoll/policy';
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
export function createBankClient(bankUrl: string): BankClient {
  const policy = createPolicy({
    name: 'bank',
    timeout: { ms: 2_000 },
    // Half of the answers are better than none, and an order that waits may ask every other second.
    breaker: { failureRatio: 0.8, maxBreakMs: 2_000 },
    bulkhead: { max: 20, maxWaiting: 100, maxWaitMs: 500 },
  });

  async function post({ path, key, pence }: BankRequest, signal: AbortSignal): Promise<BankAnswer> {
    const response = await fetch(new URL(path, bankUrl), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ pence }),
      signal,
    });
    const body = await response.text();
    if (response.status === 201) return { accepted: true, bankId: accepted.parse(JSON.parse(body)).id };
    if (response.status === 402) return { accepted: false, reason: refused.parse(JSON.parse(body)).reason };
    const { status } = response;
    const message = `the bank answered ${path} ${key} with ${status}: ${body.slice(0, 200)}`;
    throw Object.assign(new Error(message), { status });
  }

  return {
    ask: (request) =>
      policy.run(
        (attempt) => post(request, AbortSignal.any([request.signal, attempt.signal])),
        // The bank knows the key: asked twice, it charges once.
        { safe: true },
      ),
  };
}
