import type { Database } from '../database/database.ts';
import type { Transaction } from '../database/transaction.ts';
import { PlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { AlreadyDone, KeyTaken, type KeyedWork } from './keyed-work.ts';
import { maxKeyLength } from './key.ts';
import { numberProblems, Records } from './records.ts';
import type { SignedMessage, VerifyMessage } from './signature.ts';

export interface WebhookOptions {
  /** Where the effects are, and the table of `idempotencyMigrations`. */
  readonly database: Database;
  /** Whose messages: ids of one provider mean nothing to another. */
  readonly provider: string;
  /** `standardSignature`, `stripeSignature`, or your own. */
  readonly verify: VerifyMessage;
  /** How long ids are known: longer than the provider sends again. Default 7 days. */
  readonly keepMs?: number;
}

export const webhookDefaults = { keepMs: 7 * 86_400_000 } as const;

export interface Webhooks {
  /**
   * Verifies, and runs the handler in a transaction unless it has run for this id. A throw rolls back and records
   * nothing: answer with a status of 500, and the provider sends it again. PL_WEBHOOK_REFUSED when it is not the
   * provider's, PL_IDEMPOTENCY_BUSY when it is being handled.
   */
  receive(
    message: SignedMessage,
    handler: (tx: Transaction, id: string) => Promise<void>,
  ): Promise<'handled' | 'duplicate'>;
}

/** Messages of one provider, each with its effect once. */
export function createWebhooks(options: WebhookOptions): Webhooks {
  const { database, provider, verify } = options;
  throwIfProblems('webhooks', [
    ...numberProblems(options, ['keepMs']),
    ...(provider === '' ? [{ path: 'provider', message: 'is empty; name it, such as "stripe"' }] : []),
  ]);
  const { keepMs } = { ...webhookDefaults, ...options };
  const records = new Records(database, { keepMs });

  return {
    async receive(message, handler) {
      const key = verify(message);
      if (key.length > maxKeyLength)
        throw new PlimsollError(
          'PL_WEBHOOK_REFUSED',
          `the id of a webhook message has ${key.length} characters`,
        );
      // Providers change what they send with an id, such as how often they have tried: the id alone counts.
      const work: KeyedWork = { scope: `webhook ${provider}`, client: '', key, fingerprint: '' };
      const opening = records.opening(work);
      try {
        await database.transaction(
          async (tx) => {
            await handler(tx, key);
            if ((await tx.execute(records.recording(work, null))) === 0) throw new KeyTaken();
          },
          { opening },
        );
        return 'handled';
      } catch (error) {
        const refusal = opening.refused ?? (await records.refusalAfter(work, error));
        if (refusal instanceof AlreadyDone) return 'duplicate';
        throw refusal;
      }
    },
  };
}
