/** What the schedules use of the library. Loaded once for each mutant, with its edits: see `load-library.ts`. */
export { cachePolicy } from '../../src/cache/policy.ts';
export { createCache } from '../../src/cache/create-cache.ts';
export { recordInvalidation } from '../../src/cache/invalidation-rows.ts';
export { postgresBus } from '../../src/cache/postgres-bus.ts';
export { postgresCacheStore } from '../../src/cache/postgres-store.ts';
export { invalidationTruth } from '../../src/cache/truth.ts';
export { createInvalidationRelay } from '../../src/cache/relay.ts';
export { createDatabase } from '../../src/database/database.ts';
export { sql } from '../../src/database/sql.ts';
export { createContext, runInContext } from '../../src/kernel/context.ts';
export { Seen } from '../../src/kernel/seen.ts';
export { seenTokens } from '../../src/kernel/seen-token.ts';
