import { module, sql, type Module } from 'plimsoll';
import type { HttpClient } from 'plimsoll/http-client';
import { createBankClient } from './bank-client.ts';
import { payments } from './contract.ts';

/**
 * The bank is asked before the transaction begins, so that no connection is held while it answers. A crash
 * between its answer and the commit is harmless: the caller's next try asks with the same key.
 */
export function paymentsModule(outside: { readonly bank: HttpClient }): Module {
  const bank = createBankClient(outside.bank);
  return module(payments, {
    owns: { schema: 'payments', migrations: new URL('./migrations/', import.meta.url) },
    commands: {
      async charge({ orderId, pence }, { tx, signal, fail }) {
        const answer = await bank.ask({ path: '/charges', key: `charge-${orderId}`, pence, signal });
        if (!answer.accepted) return fail('Declined', { reason: answer.reason });
        await tx.execute(sql`
          insert into payments.charges (order_id, pence, bank_id)
          values (${orderId}, ${pence}, ${answer.bankId}) on conflict do nothing`);
        return { bankId: answer.bankId };
      },
      async refund({ refundId, pence }, { tx, signal }) {
        const answer = await bank.ask({ path: '/refunds', key: `refund-${refundId}`, pence, signal });
        if (!answer.accepted) throw new Error(`the bank refused refund ${refundId}: ${answer.reason}`);
        await tx.execute(sql`
          insert into payments.refunds (refund_id, pence, bank_id)
          values (${refundId}, ${pence}, ${answer.bankId}) on conflict do nothing`);
        return { bankId: answer.bankId };
      },
    },
  });
}
