import type { Area } from '../report.ts';
import { processTables } from './tables.ts';

/** What caches do between processes that share a Redis: counted, but for how long another one stays stale. */
export const bench: Area = async ({ say }) => ({ ...(await processTables(say)), raw: [] });
