import pg from 'pg';
import { polling, type Strategy } from './strategy.ts';

const readers = 2;
const most = 1_000;

/** The table as a queue: whoever reads a row deletes it. */
export const skipLocked: Strategy = {
  name: 'skip locked and delete',
  setting: `${readers} readers that delete up to ${most} rows each, of those that no other reader has locked, and commit when they have handed them on`,
  async prepare(client) {
    await client.query(`
      create table outbox (id bigint generated always as identity primary key, key text not null, n bigint not null)`);
  },
  emit: (client, { key, n }) => client.query('insert into outbox (key, n) values ($1, $2)', [key, n]),
  async read(url, deliver) {
    const running = await Promise.all(
      Array.from({ length: readers }, async () => {
        const client = new pg.Client({ connectionString: url });
        await client.connect();
        const reading = polling(async () => {
          await client.query('begin');
          const { rows } = await client.query<{ id: string; key: string; n: string }>(`
            delete from outbox where id = any(array(
              select id from outbox order by id limit ${most} for update skip locked)) returning id, key, n`);
          const events = rows
            .map(({ id, key, n }) => ({ id: Number(id), key, n: Number(n) }))
            .toSorted((a, b) => a.id - b.id);
          if (events.length > 0) deliver(events);
          await client.query('commit');
          return events.length > 0;
        });
        return { client, reading };
      }),
    );
    return {
      async stop() {
        for (const { client, reading } of running) {
          await reading.stop();
          await client.end();
        }
      },
    };
  },
};
