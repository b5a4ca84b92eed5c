import pg from 'pg';

interface Received {
  readonly sku: string;
  readonly count: number;
}

const upsert = `
  insert into by_hand (sku, count, moves) values ($1, $2, 1)
  on conflict (sku) do update set count = by_hand.count + excluded.count, moves = by_hand.moves + 1`;

/** Read models as they are often written: an upsert for each event, in a transaction of its own or in one of so many. */
export async function upsertEach(url: string, events: number, inTransaction: number): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`
      drop table if exists by_hand;
      create table by_hand (sku text primary key, count bigint not null, moves bigint not null);
      create table if not exists by_hand_position (position bigint not null);
      truncate by_hand_position; insert into by_hand_position values (0)`);
    const startedMs = performance.now();
    for (let position = 0; position < events; position += inTransaction) {
      const { rows } = await client.query<{ payload: Received }>(
        'select payload from plimsoll.event where position > $1 order by position limit $2',
        [position, inTransaction],
      );
      await client.query('begin');
      for (const { payload } of rows) await client.query(upsert, [payload.sku, payload.count]);
      await client.query('update by_hand_position set position = $1', [position + inTransaction]);
      await client.query('commit');
    }
    return events / ((performance.now() - startedMs) / 1_000);
  } finally {
    await client.end();
  }
}
