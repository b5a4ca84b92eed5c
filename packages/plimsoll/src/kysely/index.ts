/**
 * `plimsoll/kysely`: typed Kysely queries on our connections and inside a handler's transaction.
 *
 * Guarantee: a query built on {@link kysely}`(tx)` runs in that transaction and commits with its events and
 * jobs; a query of {@link kyselyRead} goes where `readOnly` goes, and cannot write; what you pass to a
 * builder stays a parameter.
 *
 * Authoritative: the transaction of the handler. Kysely begins and ends none inside it.
 *
 * Not promised: streaming, `connection()` and savepoints outside `transaction()`; each is PL_UNSUPPORTED.
 *
 * On failure: the errors of `plimsoll/database`; constraint violations stay the error of `pg` with its SQLSTATE.
 */
export { kysely, kyselyRead, type KyselyOptions } from './kysely.ts';
export { kyselyDialect } from './dialect.ts';
