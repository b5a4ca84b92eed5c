import { createTransport } from 'nodemailer';

export interface Mail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  /** Stable: SMTP has no idempotency, so a mail may arrive twice, and this tells the receiver that it is one. */
  readonly messageId: string;
  readonly signal: AbortSignal;
}

export interface Mailer {
  /** Resolves when the server has taken the mail. */
  send(mail: Mail): Promise<void>;
}

/** Connects when there is something to send; idle connections close by themselves and hold up no exit for long. */
export function createMailer(smtpUrl: string): Mailer {
  const transport = createTransport({
    url: smtpUrl,
    pool: true,
    maxConnections: 4,
    maxMessages: Infinity,
    idleTimeout: 1_000,
    connectionTimeout: 2_000,
    greetingTimeout: 2_000,
    socketTimeout: 5_000,
  });
  return {
    async send(mail) {
      await transport.sendMail({ from: 'Plimsoll shop <orders@shop.example>', ...mail });
    },
  };
}
