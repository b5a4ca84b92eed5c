import pg from 'pg';
import { background } from '../kernel/channels.ts';
import type { PostgresClient } from '../rate-limit/postgres-store.ts';
import type { BusMessage, InvalidationBus } from './bus.ts';
import { noMark } from './position.ts';
import {
  latestFloor,
  SequencedBus,
  type MessageStream,
  type SequencedBusOptions,
  type StreamPart,
} from './sequenced-bus.ts';

export interface PostgresBusOptions extends SequencedBusOptions {
  /** A pool of `pg`: reads and writes the stream. */
  readonly client: PostgresClient;
  /**
   * `postgres://…` of the server itself, for a connection that listens; behind a pooler it hears nothing. Default none:
   * then others hear within `pollMs`.
   */
  readonly listenUrl?: string;
}

/** How long a message is kept for who has not read it yet; who is later than that forgets everything. */
const keptMs = 60_000;
const sweepEvery = 200;
const channel = 'plimsoll_cache';
const mostBatches = 500;

// One transaction for all messages of a moment: a notification in each transaction of the work would have their commits
// wait for each other.
const appendSql = `
  with head as (
    insert into plimsoll.cache_bus_head as h (name, place, floor) values ($1, 1, $3)
    on conflict (name) do update set place = h.place + 1, floor = greatest(h.floor, excluded.floor) returning place
  ), sent as (insert into plimsoll.cache_bus (name, place, messages) select $1, place, $2 from head)
  select place::text, pg_notify('${channel}', $1) from head`;
const readSql = `
  with head as (select life::text, place, floor from plimsoll.cache_bus_head where name = $1)
  select (select life from head) as life, coalesce((select place from head), 0)::text as head,
    (select floor from head) as floor,
    coalesce((select json_agg(json_build_object('place', b.place, 'messages', b.messages) order by b.place) from (
      select place, messages from plimsoll.cache_bus where name = $1 and place > $2 order by place limit ${mostBatches}
    ) b), '[]') as batches`;
const beginSql = `insert into plimsoll.cache_bus_head (name, place) values ($1, 0) on conflict do nothing`;
const sweepSql = `delete from plimsoll.cache_bus where name = $1 and sent_at < clock_timestamp() - ${keptMs} * interval '1 millisecond'`;

interface ReadRow {
  readonly life: string | null;
  readonly head: string;
  readonly floor: string | null;
  readonly batches: readonly { readonly place: number; readonly messages: string }[];
}

/** Invalidations over the database that is there anyway, in the tables of `cacheMigrations`. */
export function postgresBus(options: PostgresBusOptions): InvalidationBus {
  const { client, listenUrl } = options;
  return {
    open: (bus) => new SequencedBus(new PostgresStream(client, listenUrl, bus.name, bus.scope), bus, options),
  };
}

class PostgresStream implements MessageStream {
  readonly #client: PostgresClient;
  readonly #listenUrl: string | undefined;
  readonly #name: string;
  readonly #scope: object;
  // Since the last sweep.
  #appended = 0;

  constructor(client: PostgresClient, listenUrl: string | undefined, name: string, scope: object) {
    this.#client = client;
    this.#listenUrl = listenUrl;
    this.#name = name;
    this.#scope = scope;
  }

  async append(messages: readonly BusMessage[]): Promise<void> {
    await this.#client.query(appendSql, [this.#name, JSON.stringify(messages), latestFloor(messages)]);
    this.#appended += 1;
    if (this.#appended % sweepEvery === 0) await this.#client.query(sweepSql, [this.#name]);
  }

  async readAfter(place: number | undefined): Promise<StreamPart> {
    // Without a place nothing of it is wanted but where it is.
    const after = place ?? Number.MAX_SAFE_INTEGER;
    const [row] = (await this.#client.query(readSql, [this.#name, after])).rows as readonly ReadRow[];
    if (row === undefined || row.life === null) {
      await this.#client.query(beginSql, [this.#name]);
      return this.readAfter(place);
    }
    const batches = row.batches.map((batch) => ({
      place: batch.place,
      messages: JSON.parse(batch.messages) as BusMessage[],
    }));
    return { life: row.life, head: Number(row.head), floor: row.floor ?? noMark, batches };
  }

  /** Only wakes; what it misses the next poll finds. It is made again when it breaks. */
  async listen(wake: () => void): Promise<() => Promise<void>> {
    if (this.#listenUrl === undefined) return async () => undefined;
    const url = this.#listenUrl;
    let listening: pg.Client | undefined;
    let again: NodeJS.Timeout | undefined;
    let stopped = false;
    const connect = async (): Promise<void> => {
      const client = new pg.Client({
        connectionString: url,
        keepAlive: true,
        connectionTimeoutMillis: 5_000,
      });
      let broken = false;
      const onEnd = (error?: unknown): void => {
        if (stopped || broken) return;
        broken = true;
        if (error !== undefined)
          background.publish({ scope: this.#scope, what: `listening for the cache ${this.#name}`, error });
        again = setTimeout(() => void connect(), 200).unref();
      };
      client.on('error', onEnd);
      client.on('end', () => onEnd());
      client.on('notification', ({ payload }) => {
        if (payload === this.#name) wake();
      });
      listening = client;
      try {
        await client.connect();
        await client.query(`listen ${channel}`);
        if (stopped) await client.end();
        // For what was sent before it listened.
        wake();
      } catch (error) {
        onEnd(error);
      }
    };
    await connect();
    return async () => {
      stopped = true;
      clearTimeout(again);
      await listening?.end().catch(() => undefined);
    };
  }
}
