/**
 * `plimsoll/drizzle`: typed Drizzle queries on our connections and inside a handler's transaction.
 *
 * Guarantee: a query of {@link drizzleOn}`(tx)` runs in that transaction and commits with its events and jobs;
 * a query of {@link drizzleRead} goes where `readOnly` goes, and cannot write; what you pass to a builder
 * stays a parameter; values are read exactly as `drizzle-orm/node-postgres` reads them.
 *
 * Authoritative: the transaction of the handler. `transaction()` inside it is a savepoint.
 *
 * Not promised: prepared statements kept by name; a prepared query is sent whole each time.
 *
 * On failure: our errors come as they are, with their codes; errors of PostgreSQL come as Drizzle's
 * `DrizzleQueryError`, whose `cause` is the error of `pg` with its SQLSTATE.
 */
export { drizzleOn, drizzleRead, type Drizzle, type DrizzleOptions } from './drizzle.ts';
