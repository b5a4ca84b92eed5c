import pg from 'pg';
import { polling, type Happened, type Strategy } from './strategy.ts';

const most = 1_000;
const table = `
  create table outbox (
    id bigint generated always as identity primary key, xid xid8 not null default pg_current_xact_id(),
    key text not null, n bigint not null)`;

interface OutboxRow {
  readonly id: string;
  readonly xid: string;
  readonly key: string;
  readonly n: string;
}

/** A reader that remembers how far it is; `next` is the query, `after` its parameters from the last row. */
function cursor(
  name: string,
  setting: string,
  next: string,
  start: readonly string[],
  after: (row: OutboxRow) => readonly string[],
): Strategy {
  return {
    name,
    setting,
    async prepare(client) {
      await client.query(table);
      await client.query('create index on outbox (xid, id)');
    },
    emit: (client, { key, n }) => client.query('insert into outbox (key, n) values ($1, $2)', [key, n]),
    async read(url, deliver) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      let at = start;
      const reading = polling(async () => {
        const { rows } = await client.query<OutboxRow>(next, [...at]);
        const last = rows.at(-1);
        if (last === undefined) return false;
        at = after(last);
        deliver(rows.map(({ key, n }): Happened => ({ key, n: Number(n) })));
        return true;
      });
      return {
        async stop() {
          await reading.stop();
          await client.end();
        },
      };
    },
  };
}

const ended = 'xid < pg_snapshot_xmin(pg_current_snapshot())';

export const cursors: readonly Strategy[] = [
  cursor(
    'id > cursor',
    'select where id > the last one, in the order of id; the first thing that comes to mind, and BullMQ 6.7 reads the events of its PostgreSQL backend so',
    `select id, xid, key, n from outbox where id > $1 order by id limit ${most}`,
    ['0'],
    ({ id }) => [id],
  ),
  cursor(
    'xid < xmin, by id',
    'the same, but only rows of transactions older than all that are open; as Emmett up to 0.42 reads',
    `select id, xid, key, n from outbox where id > $1 and ${ended} order by id limit ${most}`,
    ['0'],
    ({ id }) => [id],
  ),
  cursor(
    'xid < xmin, by (xid, id)',
    'those rows in the order of transaction ids, with both in the cursor; as Emmett from 0.43 on reads, and what is advised most often',
    `select id, xid, key, n from outbox where (xid, id) > ($1::text::xid8, $2::bigint) and ${ended} order by xid, id limit ${most}`,
    ['0', '0'],
    ({ xid, id }) => [xid, id],
  ),
];
