import type { App } from '../app/app.ts';
import type { Database } from '../database/database.ts';

/** Providers get it while the app has no database yet: each use asks the app, PL_LIFECYCLE when it does not run. */
export function appDatabase(app: App): Database {
  return {
    get scope(): object {
      return app.database.scope;
    },
    get name(): string {
      return app.database.name;
    },
    query: (statement) => app.database.query(statement),
    one: (statement) => app.database.one(statement),
    maybeOne: (statement) => app.database.maybeOne(statement),
    execute: (statement) => app.database.execute(statement),
    readOnly: (fn, options) => app.database.readOnly(fn, options),
    transaction: (fn, options) => app.database.transaction(fn, options),
    session: () => app.database.session(),
    settle: (seen) => app.database.settle(seen),
    seenUntilNow: () => app.database.seenUntilNow(),
    routing: () => app.database.routing(),
    pools: () => app.database.pools(),
    ping: () => app.database.ping(),
    close: () => app.database.close(),
    [Symbol.asyncDispose]: () => app.database[Symbol.asyncDispose](),
  };
}
