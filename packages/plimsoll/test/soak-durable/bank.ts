import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A payment provider outside of everything: it takes what comes with a known key for the same charge. */
export interface Bank extends AsyncDisposable {
  readonly url: string;
  /** By order: the keys under which it was charged. More than one is money taken twice. */
  readonly keys: ReadonlyMap<number, ReadonlySet<string>>;
  /** Requests that came with a key that was there before. */
  readonly repeated: number;
}

export async function startBank(random: () => number): Promise<Bank> {
  const keys = new Map<number, Set<string>>();
  const ids = new Map<string, string>();
  let repeated = 0;
  const server = createServer((request, response) => {
    void (async () => {
      let text = '';
      for await (const chunk of request) text += String(chunk);
      const { order, slowMs } = JSON.parse(text) as { order: number; slowMs: number };
      const key = String(request.headers['idempotency-key']);
      if (ids.has(key)) repeated += 1;
      const bankId = ids.get(key) ?? `b${ids.size + 1}`;
      ids.set(key, bankId);
      keys.set(order, (keys.get(order) ?? new Set()).add(key));
      if (slowMs > 0) await new Promise((resolve) => setTimeout(resolve, slowMs));
      // It was charged, and who asked is not told.
      if (random() < 0.05) return response.destroy();
      return response.end(JSON.stringify({ bankId }));
    })().catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys,
    get repeated() {
      return repeated;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}
