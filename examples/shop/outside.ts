import type { HttpClient } from 'plimsoll/http-client';
import { createMailer, type Mailer } from './modules/notifications/mailer.ts';
import { connectToBank } from './modules/payments/bank-client.ts';

/** What the shop calls that is not its own. */
export interface Outside {
  readonly bank: HttpClient;
  readonly mailer: Mailer;
}

/** Connects when there is something to send. */
export const connectOutside = (where: { readonly bankUrl: string; readonly smtpUrl: string }): Outside => ({
  bank: connectToBank(where.bankUrl),
  mailer: createMailer(where.smtpUrl),
});

/** Modules that are only looked at, or whose outside nobody calls. */
export const nowhere: Outside = connectOutside({
  bankUrl: 'http://127.0.0.1:1',
  smtpUrl: 'smtp://127.0.0.1:1',
});
