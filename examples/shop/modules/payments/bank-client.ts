import { z } from 'zod';

/** A bank that hangs must not hold an order up for longer. */
const timeoutMs = 2_000;

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

export function createBankClient(bankUrl: string): BankClient {
  return {
    async ask({ path, key, pence, signal }) {
      const response = await fetch(new URL(path, bankUrl), {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': key },
        body: JSON.stringify({ pence }),
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      });
      const body = await response.text();
      if (response.status === 201) return { accepted: true, bankId: accepted.parse(JSON.parse(body)).id };
      if (response.status === 402) return { accepted: false, reason: refused.parse(JSON.parse(body)).reason };
      throw new Error(`the bank answered ${path} ${key} with ${response.status}: ${body.slice(0, 200)}`);
    },
  };
}
