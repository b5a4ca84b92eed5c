/**
 * `plimsoll/pg`: the patterns on a `pg.Pool` and on open transactions that are yours.
 *
 * Guarantee: {@link fromPool} never changes your pool's settings, parsers or listeners, and never closes it;
 * {@link fromClient} writes in the transaction that you opened and neither commits nor rolls it back.
 *
 * Authoritative: your pool. Its size, timeouts and type parsers hold for everything that runs through it.
 *
 * Not promised: the types of `plimsoll/database`. Without parsers of your own, `pg` gives int8 as a string.
 *
 * On failure: as in `plimsoll/database`; a client without an open transaction is PL_NO_TRANSACTION.
 */
export { fromClient, type FromClientOptions } from './from-client.ts';
export { fromPool, type FromPoolOptions } from './from-pool.ts';
