import { join } from 'node:path';
import { startChild } from '@plimsoll/cli/process';

export interface OutsideServers {
  readonly bankUrl: string;
  readonly smtpUrl: string;
  /** See `bank/server.ts`. */
  readonly setBank: (mode: {
    readonly mode: string;
    readonly latencyMs?: number;
    readonly errorRate?: number;
  }) => Promise<void>;
}

/** The bank and the mail server, as processes of their own that end with the stack; their logs go to the directory. */
export async function startOutside(
  servers: AsyncDisposableStack,
  directory: string,
): Promise<OutsideServers> {
  const start = async (
    name: string,
    file: string,
    env: Readonly<Record<string, string>>,
  ): Promise<unknown> => {
    const child = await startChild({
      name: `the ${name}`,
      file: join(import.meta.dirname, file),
      env,
      logFile: join(directory, `${name.split(' ', 1)[0]}.log`),
    });
    return servers.use(child).ready;
  };
  const bank = (await start('bank', 'bank/server.ts', { BANK_PORT: '0' })) as { readonly listening: number };
  const mail = (await start('mail server', 'mail/server.ts', {
    MAIL_SMTP_PORT: '0',
    MAIL_HTTP_PORT: '0',
  })) as {
    readonly smtp: number;
  };
  const bankUrl = `http://127.0.0.1:${bank.listening}`;
  return {
    bankUrl,
    smtpUrl: `smtp://127.0.0.1:${mail.smtp}`,
    async setBank(mode) {
      const answer = await fetch(`${bankUrl}/mode`, { method: 'PUT', body: JSON.stringify(mode) });
      if (!answer.ok)
        throw new Error(`the bank refused the mode ${JSON.stringify(mode)}: ${await answer.text()}`);
    },
  };
}
