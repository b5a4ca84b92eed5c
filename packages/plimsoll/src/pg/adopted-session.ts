import pg from 'pg';
import { translateFailure } from '../database/failures.ts';
import type { Session } from '../database/session.ts';
import { queryable, runStatement } from '../database/statements.ts';

/**
 * A connection of its own with the pool's options, so that what lives as long as a session, such as the
 * presence of a worker, takes no slot of the pool. Made by the pool's own `Client` where it has one.
 */
export async function openSessionLike(pool: pg.Pool, scope: object): Promise<Session> {
  // The types of `pg` know less of it than the pool does, which calls it in the same way.
  const Client = (pool.options.Client as typeof pg.Client | undefined) ?? pg.Client;
  const client = new Client(pool.options);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  client.on('end', () => resolve());
  // A broken connection also emits `end`; without this listener it would end the process.
  client.on('error', () => resolve());
  try {
    await client.connect();
  } catch (error) {
    throw translateFailure(error, 'primary');
  }
  const target = { server: 'primary', scope, cancels: false };
  return {
    ...queryable((statement, pick) => runStatement(client, statement, target, pick)),
    closed,
    async close() {
      await client.end().catch(() => undefined);
      resolve();
    },
  };
}
