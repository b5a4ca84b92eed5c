import { createDatabase, migrate, sql } from 'plimsoll/database';
import { jobMigrations } from 'plimsoll/jobs';
import { createRelay, insertEvents, outboxMigrations } from 'plimsoll/outbox';
import { pollMs, polling, type Happened, type Strategy } from './strategy.ts';

export const sequencer: Strategy = {
  name: 'plimsoll, a sequencer',
  setting:
    'insertEvents in the transaction; createRelay gives positions to whatever rows are there; select where position > the last one',
  async prepare(_client, url) {
    await using database = createDatabase({ url });
    await migrate(database, [jobMigrations, outboxMigrations]);
  },
  emit(client, { key, n }) {
    const { text, values } = insertEvents([
      { type: 'bench.happened', version: 1, key, correlationId: key, caller: {}, payload: { n } },
    ]).compile();
    return client.query(text, [...values]);
  },
  async read(url, deliver) {
    const database = createDatabase({ url, pool: { max: 4 } });
    const relay = createRelay({ database, modules: [], subscriptions: [], pollMs });
    await relay.start();
    let position = 0;
    const reading = polling(async () => {
      const events = await database.query<Happened & { position: number }>(sql`
        select position::float8, key, (payload->>'n')::float8 as n from plimsoll.event
        where position > ${position} order by position limit 1000`);
      position = events.at(-1)?.position ?? position;
      if (events.length > 0) deliver(events);
      return events.length > 0;
    });
    return {
      async stop() {
        await reading.stop();
        await relay.stop();
        await database.close();
      },
    };
  },
};
