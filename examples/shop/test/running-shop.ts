import { fileURLToPath } from 'node:url';
import { startChild, type Child } from '@plimsoll/cli/process';
import { createTestDatabase } from '@plimsoll/embedded';
import { createApp, plan, route, type App } from 'plimsoll';
import { vi } from 'vitest';
import { z } from 'zod';
import type { Entry } from '../bank/ledger.ts';
import { cachedQueries } from '../cached-queries.ts';
import { shopModules } from '../modules.ts';
import { catalog } from '../modules/catalog/contract.ts';
import { payments } from '../modules/payments/contract.ts';
import { connectOutside } from '../outside.ts';
import { importRetail } from '../retail/import.ts';
import { routes } from '../routes.ts';

export interface RunningShop extends AsyncDisposable {
  readonly app: App;
  /** Of its primary. */
  readonly databaseUrl: string;
  /** Entries of the bank's ledger by key. */
  ledger(): Promise<ReadonlyMap<string, Entry>>;
  setBank(mode: { readonly mode: string; readonly latencyMs?: number }): Promise<void>;
  /** Ends the mail server, without a word. */
  killMail(): Promise<void>;
  /** How often each Message-ID came. */
  mails(): Promise<ReadonlyMap<string, number>>;
}

interface Cluster {
  readonly primaryUrl: string;
  readonly replicaUrls: readonly string[];
}

const startServer = (name: string, file: string, env: Readonly<Record<string, string>>): Promise<Child> =>
  startChild({ name, file: fileURLToPath(new URL(file, import.meta.url)), env });

async function getJson<T>(url: string, schema: z.ZodType<T>): Promise<T> {
  return schema.parse(await (await fetch(url)).json());
}

const messages = z.object({ messages: z.array(z.object({ id: z.string(), count: z.int() })) });

/** The whole shop with the data imported, and its replica knowing of it. */
export async function startFilledShop(cluster: Cluster): Promise<RunningShop> {
  const shop = await startShop(cluster);
  await importRetail(shop.app.database);
  await vi.waitUntil(async () => (await shop.app.call(catalog.product, { sku: '85123A' })) !== null, 10_000);
  return shop;
}

/** The whole shop on a database of its own, with its bank and its mail server as processes; nothing is faked. */
export async function startShop(cluster: Cluster): Promise<RunningShop> {
  await using starting = new AsyncDisposableStack();
  const database = await createTestDatabase(cluster);
  starting.defer(() => database.drop());
  const bank = starting.use(await startServer('the bank', '../bank/server.ts', { BANK_PORT: '0' }));
  const mail = starting.use(
    await startServer('the mail server', '../mail/server.ts', { MAIL_SMTP_PORT: '0', MAIL_HTTP_PORT: '0' }),
  );
  const bankUrl = `http://127.0.0.1:${(bank.ready as { listening: number }).listening}`;
  const mailPorts = mail.ready as { smtp: number; http: number };
  const outside = connectOutside({ bankUrl, smtpUrl: `smtp://127.0.0.1:${mailPorts.smtp}` });
  starting.defer(() => outside.bank.close());
  const app = createApp(
    plan({
      name: 'shop-under-test',
      modules: shopModules(outside),
      policies: { outgoing: [outside.bank, outside.mailer.policy] },
      http: {
        port: 0,
        // Its clients work on the same event loop, which is then behind with their work.
        shed: false,
        routes: [
          ...routes.map(({ path, operation, ...options }) => route(path, operation, options)),
          // A till: a payment that is answered when the bank has answered.
          route('/payments', payments.charge, { errors: { Declined: 402 } }),
        ],
      },
      cache: { queries: cachedQueries },
      worker: { concurrency: 8, pollMs: 50, backoff: { baseMs: 20, maxMs: 200 } },
      expectedPeak: { requestsPerSecond: 100 },
      objectives: { default: { p95Ms: 100, errorRate: 0.001 } },
    }),
    { databaseUrl: database.url, replicaUrls: database.replicaUrls },
  );
  await app.start();
  starting.defer(() => app.stop());
  const owned = starting.move();
  return {
    app,
    databaseUrl: database.url,
    async ledger() {
      const { entries } = (await (await fetch(`${bankUrl}/ledger`)).json()) as { entries: Entry[] };
      return new Map(entries.map((entry) => [entry.key, entry]));
    },
    async setBank(mode) {
      await fetch(`${bankUrl}/mode`, { method: 'PUT', body: JSON.stringify(mode) });
    },
    async killMail() {
      await mail.kill();
    },
    async mails() {
      const listed = await getJson(`http://127.0.0.1:${mailPorts.http}/messages`, messages);
      return new Map(listed.messages.map(({ id, count }) => [id, count]));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
