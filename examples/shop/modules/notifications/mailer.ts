import { createTransport } from 'nodemailer';
import { createPolicy, type Policy } from 'plimsoll/policy';

export interface Mail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  /** Stable: SMTP has no idempotency, so a mail may arrive twice, and this tells the receiver that it is one. */
  readonly messageId: string;
}

export interface Mailer {
  /** What guards it. */
  readonly policy: Policy;
  /** Resolves when the server has taken the mail. */
  send(mail: Mail): Promise<void>;
}

/** So many mails at once; a server that takes none is not asked by each of them. */
const connections = 4;

/** Connects when there is something to send; idle connections close by themselves and hold up no exit for long. */
export function createMailer(smtpUrl: string): Mailer {
  const transport = createTransport({
    url: smtpUrl,
    pool: true,
    maxConnections: connections,
    maxMessages: Infinity,
    idleTimeout: 1_000,
    connectionTimeout: 2_000,
    greetingTimeout: 2_000,
    socketTimeout: 5_000,
  });
  const policy = createPolicy({
    name: 'mail',
    // The job is what tries again.
    retry: false,
    bulkhead: { max: connections, maxWaiting: 16 },
  });
  return {
    policy,
    send: (mail) =>
      policy.run(async () => {
        await transport.sendMail({ from: 'Plimsoll shop <orders@shop.example>', ...mail });
      }),
  };
}
