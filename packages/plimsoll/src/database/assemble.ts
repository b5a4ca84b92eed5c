import { systemClock } from '../kernel/clock.ts';
import { currentContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { Seen, type PositionSource } from '../kernel/seen.ts';
import type { Database, ReadOnlyOptions } from './interface.ts';
import { isConnectionFailure, wasNeverSent } from './failures.ts';
import type { Pool } from './pool.ts';
import { runOnPool, statementsOn } from './pool-statements.ts';
import { Canary } from './routing/canary.ts';
import { Causality, type Sampled } from './routing/causality.ts';
import { askOn } from './routing/commit.ts';
import type { Consistency } from './routing/consistency.ts';
import type { OpenMonitor } from './routing/monitor.ts';
import { assertPossible, type RoutingSettings } from './routing/options.ts';
import { Reads, type ReadWishes } from './routing/reads.ts';
import { notThePrimary } from './routing/router.ts';
import { createRouting, routingState } from './routing/routing.ts';
import type { Session } from './session.ts';
import { sql } from './sql.ts';
import { queryable, sendAlone, type Queryable, type Send } from './statements.ts';
import { runTransaction } from './transaction.ts';

/** What a database is made of, whoever made the pools. */
export interface DatabaseParts {
  readonly scope: object;
  readonly name: string;
  readonly consistency: Consistency | undefined;
  readonly settings: RoutingSettings;
  readonly primary: Pool;
  /** For `readOnly` on the primary; may be the same. */
  readonly primaryReads: Pool;
  readonly replicas: readonly Pool[];
  /** Reads that fall back to the primary at most, whatever the settings say: connections are left for the rest. */
  readonly fallbackMax: number;
  /** Begins a transaction that cannot write, where sessions do not see to that; else empty. */
  readonly beginOnPrimary: readonly string[];
  /** Sent with each BEGIN, where sessions cannot keep settings: each one statement. */
  readonly transactionSettings: readonly string[];
  readonly monitors: { readonly primary: OpenMonitor; readonly replicas: readonly OpenMonitor[] };
  readonly session: () => Promise<Session>;
}

export function assembleDatabase(parts: DatabaseParts): Database {
  const { scope, name, settings, primary, primaryReads, replicas } = parts;
  const causality = new Causality(name, () => systemClock.monotonicMs());
  const routing =
    replicas.length === 0
      ? undefined
      : createRouting({ ...parts, causality, clock: systemClock, primaryMax: parts.fallbackMax });
  const reads = new Reads({
    scope,
    causality,
    primary: primaryReads,
    routing,
    beginOnPrimary: parts.beginOnPrimary,
  });
  const setting = { causality, settings: parts.transactionSettings };
  const pools = [...new Set([primary, primaryReads, ...replicas])];
  let closing: Promise<void> | undefined;

  function wishesOf(options: ReadOnlyOptions): ReadWishes {
    const { consistency, maxStalenessMs, snapshot = false, begin, check } = options;
    const level = consistency ?? parts.consistency ?? (maxStalenessMs === undefined ? 'session' : 'eventual');
    if (replicas.length > 0 || consistency !== undefined) assertPossible(level, settings.pooler);
    if (maxStalenessMs !== undefined && level !== 'eventual') {
      throw new PlimsollError(
        'PL_CONFIG',
        `readOnly: maxStalenessMs is for eventual reads, and this one is ${level}: it is as current as its reader needs`,
      );
    }
    return { level, seen: options.seen ?? currentContext()?.seen, maxStalenessMs, snapshot, begin, check };
  }

  async function readOnly<T>(fn: (db: Queryable) => Promise<T>, options: ReadOnlyOptions = {}): Promise<T> {
    const wishes = wishesOf(options);
    return wishes.snapshot === true ? await reads.snapshot(fn, wishes) : await fn(reads.statements(wishes));
  }

  /** What is written to a primary that was replaced is lost. Where nothing watches, nothing would lift this again. */
  function refuseIfFenced(): void {
    if (routing !== undefined && causality.fenced) throw notThePrimary(primary.server);
  }

  /** What may have written, outside a transaction: its position is taken when somebody needs it. */
  const statements = queryable(async (statement, pick) => {
    refuseIfFenced();
    const seen = currentContext()?.seen;
    return await runOnPool(
      primary,
      scope,
      statement,
      pick,
      seen === undefined ? {} : { send: sendNoting(seen) },
    );
  });

  function sendNoting(seen: Seen): Send {
    return async (client, compiled) => {
      const end = seen.beginWrite(name);
      try {
        return await sendAlone(client, compiled);
      } catch (error) {
        if (isConnectionFailure(error) && !wasNeverSent(error)) causality.noteUnknown(seen);
        throw error;
      } finally {
        causality.markDue(seen);
        end();
      }
    };
  }

  /** Where nothing watches the primary. */
  async function sampleOnPool(): Promise<Sampled | undefined> {
    const { turn } = causality;
    const client = await primary.acquire();
    try {
      const learned = await causality.learn(askOn(client));
      return learned && { position: learned.position, turn };
    } finally {
      client.release();
    }
  }

  const source: PositionSource = {
    owes: (seen) => causality.owes(seen),
    settle: (seen) =>
      causality.settle(seen, routing === undefined ? sampleOnPool : () => routing.watch.samplePrimary()),
  };
  causality.source = source;

  const transaction: Database['transaction'] = async (fn, options) => {
    refuseIfFenced();
    return await runTransaction(primary, scope, fn, options, setting);
  };
  const canary =
    settings.canaryMs > 0 && routing !== undefined
      ? new Canary({
          scope,
          everyMs: settings.canaryMs,
          write: (fn, seen) => transaction(fn, { seen }),
          read: (seen) => reads.statements({ level: 'session', seen }),
        })
      : undefined;

  async function end(): Promise<void> {
    await canary?.close();
    await Promise.all([routing?.watch.close(), ...pools.map((pool) => pool.close())]);
  }
  const close = (): Promise<void> => (closing ??= end());

  return {
    ...statements,
    scope,
    name,
    readOnly,
    transaction,
    session: parts.session,
    settle: (seen) => source.settle(seen),
    seenUntilNow() {
      const seen = new Seen();
      causality.markDue(seen);
      return seen;
    },
    pools: () => Object.fromEntries(pools.map((pool) => [pool.server, pool.state()])),
    routing: () => routingState(causality, routing, canary?.state ?? noBeats),
    async ping() {
      const answers = pools.map((pool) => statementsOn(pool, scope).query(sql`select 1`));
      routing?.watch.touch();
      await Promise.all([...answers, routing?.watch.samplePrimary().catch(() => undefined)]);
      // Now that the history is known, replicas can prove that they follow it.
      await routing?.watch.refreshAll();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

const noBeats = { beats: 0, violations: 0, failures: 0 };
