/** Builds the view anew in a process of its own, and tells how long that took and what memory it needed. */
import { createDatabase } from 'plimsoll/database';
import { createViewBuilder, listViews, rebuildView } from 'plimsoll/views';
import { applicationName, places } from './view.ts';

export interface Rebuilt {
  readonly seconds: number;
  /** Resident memory before, and at most while it was built, MiB. */
  readonly beforeMiB: number;
  readonly peakMiB: number;
}

const [url = '', restShare = '0'] = process.argv.slice(2);
const mib = (): number => process.memoryUsage.rss() / 2 ** 20;
await using database = createDatabase({ url, applicationName, pool: { max: 4 } });
const databases = { database, log: database };
const table = await rebuildView(databases, places, 'stock.levels');
const builder = createViewBuilder({ database, views: places, restShare: Number(restShare) });
const beforeMiB = mib();
let peakMiB = beforeMiB;
const sampling = setInterval(() => (peakMiB = Math.max(peakMiB, mib())), 20);
const startedMs = performance.now();
await builder.start();
for (;;) {
  const built = (await listViews(databases)).find((each) => each.table === table);
  if (built?.failure) throw new Error(built.failure.message);
  if (built?.state === 'live') break;
  await new Promise((resolve) => setTimeout(resolve, 50));
}
const seconds = (performance.now() - startedMs) / 1_000;
clearInterval(sampling);
await builder.stop();
process.send?.({ seconds, beforeMiB, peakMiB } satisfies Rebuilt);
if (process.send === undefined) console.log({ seconds, beforeMiB, peakMiB });
process.disconnect?.();
