import pg from 'pg';
import { sessionOf, type Session } from '../database/session.ts';

/**
 * A connection of its own with the pool's options, so that what lives as long as a session, such as the
 * presence of a worker, takes no slot of the pool. Made by the pool's own `Client` where it has one.
 */
export function openSessionLike(pool: pg.Pool, scope: object): Promise<Session> {
  // The types of `pg` know less of it than the pool does, which calls it in the same way.
  const Client = (pool.options.Client as typeof pg.Client | undefined) ?? pg.Client;
  return sessionOf(new Client(pool.options), scope);
}
