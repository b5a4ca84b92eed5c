import type pg from 'pg';
import { isConnectionFailure } from '../failures.ts';
import type { Pool } from '../pool.ts';
import { runOnPool } from '../pool-statements.ts';
import type { Sql } from '../sql.ts';
import { queryConfig, queryable, type Answer, type Queryable, type Send } from '../statements.ts';
import type { Causality } from './causality.ts';
import { sendFlight } from './flight.ts';
import { primarySample, readReplica, replicaSample, shownSample, type ReplicaPosition } from './position.ts';
import { notThePrimary, type Chosen, type RoutedRead, type Router } from './router.ts';
import { runSnapshot, type ChoosePlace } from './snapshot.ts';
import { StaleRead } from './trouble.ts';
import type { Watch } from './watch.ts';

/** What a caller of `readOnly` asks for. */
export interface ReadWishes extends RoutedRead {
  readonly begin?: Sql | undefined;
  readonly check?: ((text: string) => void) | undefined;
}

/** What routes reads, where there are replicas. */
export interface Routing {
  readonly router: Router;
  readonly watch: Watch;
  readonly replicas: readonly Pool[];
  /**
   * When a replica tells which incarnation it is: `once` for each connection, or with `each` read behind a pooler, which
   * may connect anew. `nothing` where a URL is several servers, so that what it tells may be of another one.
   */
  readonly told: 'once' | 'each' | 'nothing';
}

export interface ReadsOptions {
  readonly scope: object;
  readonly causality: Causality;
  readonly primary: Pool;
  readonly routing: Routing | undefined;
  /** Begins a read-only transaction where the sessions of the primary are not read-only by themselves; else empty. */
  readonly beginOnPrimary: readonly string[];
}

const repeatable = 'isolation level repeatable read read only';

/** Single statements, each routed by itself, and snapshots, which stay on the server where they began. */
export class Reads {
  readonly #options: ReadsOptions;
  /** Of the server at the other end; it cannot change without the connection. */
  readonly #incarnations = new WeakMap<pg.ClientBase, number>();

  constructor(options: ReadsOptions) {
    this.#options = options;
  }

  statements(wishes: ReadWishes): Queryable {
    const { scope, primary, routing, causality } = this.#options;
    const { begin, check, seen } = wishes;
    return queryable(async (statement, pick) => {
      check?.(statement.compile().text);
      const send = this.#toPrimary(wishes);
      if (routing === undefined) {
        const answer = await runOnPool(primary, scope, statement, pick, { begin, send });
        if (seen !== undefined) causality.markRead(seen);
        return answer;
      }
      const { router, replicas } = routing;
      return await router.route(wishes, {
        onPrimary: (route) => runOnPool(primary, scope, statement, pick, { begin, send, route }),
        onReplica: (chosen) =>
          runOnPool(replicas[chosen.index] ?? primary, scope, statement, pick, {
            begin,
            send: this.#toReplica(wishes, chosen, routing),
            route: chosen.reason,
          }),
      });
    });
  }

  /** One transaction that sees one moment. */
  async snapshot<T>(fn: (db: Queryable) => Promise<T>, wishes: ReadWishes): Promise<T> {
    const { scope, primary, routing, beginOnPrimary, causality } = this.#options;
    const given = wishes.begin?.compile().text;
    const begin = given === undefined ? `begin ${repeatable}` : `${given}; set transaction ${repeatable}`;
    const [, ...settings] = beginOnPrimary;
    const onPrimary = {
      pool: primary,
      begin: [begin, ...settings].join('; '),
      sample: primarySample,
      accept: (row: unknown) => this.#notePrimary(row, wishes),
    };
    const choose: ChoosePlace = (run) => {
      if (routing === undefined) return run(onPrimary);
      return routing.router.route(
        { ...wishes, snapshot: true },
        {
          onPrimary: () => run(onPrimary),
          onReplica: (chosen) =>
            run({
              pool: routing.replicas[chosen.index] ?? primary,
              begin,
              sample: replicaSample,
              accept: async (row) => this.#noteReplica(readReplica(row), wishes, chosen, routing),
            }),
        },
      );
    };
    try {
      return await runSnapshot(scope, choose, fn, wishes.check);
    } finally {
      if (routing === undefined && wishes.seen !== undefined) causality.markRead(wishes.seen);
    }
  }

  /** Undefined when nothing has to travel with the statement. */
  #toPrimary(wishes: ReadWishes): Send | undefined {
    const { beginOnPrimary, routing } = this.#options;
    const before = wishes.begin === undefined ? beginOnPrimary : [];
    const sampled =
      wishes.seen !== undefined && routing !== undefined && this.#options.causality.unsupported === undefined;
    if (!sampled && before.length === 0) return undefined;
    const after = [...(sampled ? [primarySample] : []), ...(before.length > 0 ? ['commit'] : [])];
    return async (client, { text, values, driver }) => {
      const flight = { ...queryConfig(text, driver), text, values: [...values], before, after };
      const results = await sendFlight(client, flight).catch(async (error: unknown) => {
        if (before.length > 0 && !isConnectionFailure(error)) await client.query('rollback');
        throw error;
      });
      if (sampled) await this.#notePrimary(results.at(-after.length)?.rows[0], wishes);
      return answerOf(results, after);
    };
  }

  #toReplica(wishes: ReadWishes, chosen: Chosen, routing: Routing): Send | undefined {
    const { told } = routing;
    if (wishes.seen === undefined || told === 'nothing') return undefined;
    return async (client, { text, values, driver }) => {
      const known = told === 'once' ? this.#incarnations.get(client) : undefined;
      const after = [known === undefined ? replicaSample : shownSample];
      const results = await sendFlight(client, {
        ...queryConfig(text, driver),
        text,
        values: [...values],
        after,
      });
      const position = readReplica(results.at(-1)?.rows[0]);
      const incarnation = position.incarnation ?? known ?? 0;
      this.#incarnations.set(client, incarnation);
      this.#noteReplica({ ...position, incarnation }, wishes, chosen, routing);
      return answerOf(results, after);
    };
  }

  /** Throws unless the answer came from the primary. */
  async #notePrimary(row: unknown, { seen, level }: ReadWishes): Promise<void> {
    const { causality, primary, routing } = this.#options;
    const position = causality.positionIn(row);
    if (position === undefined || !causality.accepts(position)) {
      if (level === 'eventual') return;
      throw notThePrimary(primary.server);
    }
    if (seen === undefined) return;
    if (causality.knows(position.timeline)) return causality.noteRead(seen, position.inserted);
    // On a connection that may write: whoever first sees a new history leaves a mark in it.
    const sampled = await routing?.watch.samplePrimary().catch(() => undefined);
    if (sampled !== undefined) causality.noteRead(seen, sampled.position.inserted);
  }

  /** Throws when another incarnation of the server answered than the one whose position was known. */
  #noteReplica(
    { replayed, shown, incarnation = 0 }: ReplicaPosition,
    { seen }: ReadWishes,
    chosen: Chosen,
    { watch, told }: Routing,
  ): void {
    if (told === 'nothing') return;
    const state = watch.states[chosen.index];
    if (state?.confirms(chosen.incarnation, { replayed, incarnation }) === false)
      throw new StaleRead('another incarnation of the server answered');
    // Of when it was chosen: what it shows belongs to that history, whatever was learnt meanwhile.
    const { causality } = this.#options;
    if (seen === undefined || chosen.epoch === undefined) return;
    seen.noteRead(causality.name, chosen.epoch, shown);
    if (causality.epoch?.text === chosen.epoch) watch.noteInserted(shown);
  }
}

/** That of the statement itself, among those that travelled with it. */
function answerOf(results: readonly pg.QueryResult[], after: readonly string[]): Answer {
  return results.slice(0, results.length - after.length) as Answer;
}

/** What begins a read-only transaction where a pooler keeps settings from the sessions. */
export function beginReadOnly(statementTimeoutMs: number): readonly string[] {
  return ['begin read only', `set local statement_timeout = ${Math.round(statementTimeoutMs)}`];
}
