/** What the schedules use of the library. Loaded once for each mutant, with its edits: see `../mutants/load-library.ts`. */
export { createApp } from '../../src/app/app.ts';
export { plan } from '../../src/app/plan.ts';
export { createDatabase } from '../../src/database/database.ts';
export { sql } from '../../src/database/sql.ts';
export { createContext, runInContext } from '../../src/kernel/context.ts';
export { command, contract, event } from '../../src/modules/contract.ts';
export { module } from '../../src/modules/module.ts';
export { insertEvents } from '../../src/outbox/events.ts';
export { moveCommitted } from '../../src/outbox/relay.ts';
export { saga } from '../../src/saga/saga.ts';
export { view } from '../../src/views/view.ts';
