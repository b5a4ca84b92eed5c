/** One process of the app: it answers what its parent asks, and works on whatever is due. */
import { createApp, plan } from 'plimsoll';
import { createContext, runInContext } from '../../src/kernel/context.ts';
import { soakModule } from './modules.ts';
import type { Answer, Asked, ChildSettings } from './protocol.ts';

const settings = JSON.parse(process.argv[2] ?? '{}') as ChildSettings;
const { contract, module } = soakModule(settings.release, settings.bankUrl);

const wallClock = Date.now;
let aheadMs = 0;
Date.now = () => wallClock() + aheadMs;

const app = createApp(
  plan({
    name: settings.name,
    modules: [module],
    http: { port: 0 },
    database: { pool: { max: 8 } },
    worker: { backoff: { baseMs: 200, maxMs: 5_000 } },
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 1_000, errorRate: 0.1 } },
  }),
  { databaseUrl: settings.databaseUrl, listen: false },
);

/** The server may be away as this process begins. */
async function started(): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await app.start();
    } catch (error) {
      if (tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

async function answerTo(asked: Asked): Promise<Omit<Answer, 'of'>> {
  switch (asked.do) {
    case 'place':
      // The same key however often it is asked for: its effects are there once.
      await runInContext(createContext({ key: `order-${asked.order.id}` }), () =>
        app.call(contract.place, asked.order),
      );
      return {};
    case 'jump':
      aheadMs = asked.ms;
      return {};
    case 'memory':
      globalThis.gc?.();
      return { heapMb: process.memoryUsage().heapUsed / 2 ** 20 };
    case 'stop':
      await app.stop();
      return {};
  }
}

process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => undefined);
process.on('message', (asked: Asked) => {
  void answerTo(asked)
    .catch((error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }))
    .then((answer) => {
      // Its parent may end first; then nobody wants to know.
      if (process.connected) process.send?.({ ...answer, of: asked.number }, () => undefined);
    });
});
await started();
process.send?.('ready');
