import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { withClient } from './client.ts';
import { EmbeddedError } from './errors.ts';
import { flushedPosition, joinProblem } from './join.ts';
import { EmbeddedServer, type ClusterContext, type Server } from './server.ts';
import { ensureSlot, seedFromPristine, seedFromRunning, slotOf } from './seed.ts';
import type { Following } from './settings.ts';
import { until } from './until.ts';

export interface Replica extends Server {
  /** `promoted` after `promote`, until `reseed` makes it a standby again. */
  readonly role: 'standby' | 'promoted';
  /** Stops replaying (`pg_wal_replay_pause`); the log is still received. A restart ends the pause. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Applies commits this much later than the primary made them (`recovery_min_apply_delay`); 0 ends it. */
  lag(ms: number): Promise<void>;
  /** Makes it a primary with a history of its own. */
  promote(): Promise<void>;
  /** Throws its data away and takes a base backup from the primary, or from another writable server. */
  reseed(from?: Server): Promise<void>;
  /** Resolves when it has replayed everything that its primary had flushed at the call. */
  caughtUp(options?: { readonly timeoutMs?: number }): Promise<void>;
}

const longestDelayMs = 2_147_483_647;

export class EmbeddedReplica extends EmbeddedServer implements Replica {
  /** Changed by `reseed` and `promote` only. */
  #role: 'standby' | 'promoted' = 'standby';
  #upstream: EmbeddedServer;
  #applyDelayMs = 0;

  constructor(context: ClusterContext, name: string, primary: EmbeddedServer) {
    super(context, name);
    this.#upstream = primary;
  }

  get role(): 'standby' | 'promoted' {
    return this.#role;
  }

  get isSeeded(): boolean {
    return ['PG_VERSION', 'global/pg_control', 'standby.signal'].every((name) =>
      existsSync(join(this.dataDir, name)),
    );
  }

  protected override following(): Following | undefined {
    if (this.#role === 'promoted') return undefined;
    return {
      port: this.#upstream.port,
      password: this.context.password,
      slot: slotOf(this.name),
      applyDelayMs: this.#applyDelayMs,
    };
  }

  pause(): Promise<void> {
    return this.exclusively('pause', async () => {
      this.#requireStandby('pause');
      await withClient(this.url, async (connection) => {
        await connection.rows('select pg_wal_replay_pause()');
        await until(
          async () => {
            const [row] = await connection.rows<{ state: string }>(
              'select pg_get_wal_replay_pause_state() as state',
            );
            // While it sits out an apply delay nothing is replayed, and the pause follows before the next record.
            return row?.state === 'paused' || (this.#applyDelayMs > 0 && row?.state === 'pause requested');
          },
          { timeoutMs: 10_000, late: () => this.#late('pause', 'replay did not pause within 10 s') },
        );
      });
    });
  }

  resume(): Promise<void> {
    return this.exclusively('resume', async () => {
      this.#requireStandby('resume');
      await withClient(this.url, (connection) => connection.rows('select pg_wal_replay_resume()'));
    });
  }

  lag(ms: number): Promise<void> {
    return this.exclusively('lag', async () => {
      if (!Number.isInteger(ms) || ms < 0 || ms > longestDelayMs)
        throw new EmbeddedError(
          'PL_EMBEDDED_OPTIONS',
          `${this.name}.lag(${ms}): the delay must be a whole number of milliseconds from 0 to ${longestDelayMs}.`,
        );
      this.#requireStandby('lag');
      this.#applyDelayMs = ms;
      this.configure();
      this.postmaster.reload();
      await withClient(this.url, async (connection) => {
        await until(
          async () => {
            const [row] = await connection.rows<{ setting: string }>(
              "select setting from pg_settings where name = 'recovery_min_apply_delay'",
            );
            return row?.setting === String(ms);
          },
          { timeoutMs: 10_000, late: () => this.#late('lag', 'the setting was not taken over within 10 s') },
        );
      });
    });
  }

  promote(): Promise<void> {
    return this.exclusively('promote', async () => {
      this.#requireStandby('promote');
      // It does not wait for it: a statement that did would keep a snapshot, and the log that is still to be replayed may
      // conflict with that.
      await withClient(this.url, async (connection) => {
        await connection.rows('select pg_promote(false)');
        await until(
          async () => {
            const [row] = await connection.rows<{ standby: boolean }>(
              'select pg_is_in_recovery() as standby',
            );
            return row?.standby === false;
          },
          {
            timeoutMs: 60_000,
            everyMs: 5,
            late: () => this.#late('promote', 'it was still a standby after 60 s'),
          },
        );
      });
      this.#role = 'promoted';
      this.configure();
    });
  }

  reseed(from: Server = this.#upstream): Promise<void> {
    return this.exclusively('reseed', async () => {
      await this.#reseed(from);
    });
  }

  async #reseed(from: Server): Promise<void> {
    if (
      !(from instanceof EmbeddedServer) ||
      from === this ||
      (from instanceof EmbeddedReplica && from.role === 'standby')
    )
      throw new EmbeddedError(
        'PL_EMBEDDED_REPLICA',
        `${this.name}.reseed(${from.name}): it can only be seeded from a writable server of the same cluster: the primary, or another replica that was promoted.`,
      );
    from.requireRunning('reseed');
    await this.postmaster.stop('immediate');
    await seedFromRunning({ name: this.name, dataDir: this.dataDir, user: this.context.user }, from);
    this.#upstream = from;
    this.#role = 'standby';
    this.#applyDelayMs = 0;
    await this.launch();
    const problem = await this.joinProblem();
    if (problem !== undefined) throw this.#late('reseed', `it does not stream from ${from.name}: ${problem}`);
  }

  async seedPristine(): Promise<void> {
    await seedFromPristine(
      { name: this.name, dataDir: this.dataDir, user: this.context.user },
      this.#upstream.dataDir,
    );
  }

  async seedRunning(): Promise<void> {
    await this.postmaster.stop('immediate');
    await seedFromRunning(
      { name: this.name, dataDir: this.dataDir, user: this.context.user },
      this.#upstream,
    );
  }

  prepareSlot(): Promise<void> {
    return ensureSlot(this.#upstream.url, slotOf(this.name));
  }

  /** `undefined` once it streams and has caught up; else why it cannot. */
  joinProblem(): Promise<string | undefined> {
    return joinProblem({
      url: this.url,
      upstreamUrl: this.#upstream.url,
      log: () => this.postmaster.logSinceStart(),
    });
  }

  async caughtUp(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = options.timeoutMs ?? 10_000;
    this.#requireStandby('caughtUp');
    const wanted = await flushedPosition(this.#upstream.url);
    let seen = '';
    await withClient(this.url, (connection) =>
      until(
        async () => {
          const [row] = await connection.rows<{ reached: boolean; lsn: string; state: string }>(
            'select pg_last_wal_replay_lsn() >= $1::pg_lsn as reached, pg_last_wal_replay_lsn() as lsn, pg_get_wal_replay_pause_state() as state',
            [wanted],
          );
          seen = `${row?.lsn}, replay is ${row?.state}, apply delay is ${this.#applyDelayMs} ms`;
          return row?.reached === true;
        },
        {
          timeoutMs,
          everyMs: 5,
          late: () =>
            this.#late(
              'caughtUp',
              `it had not replayed ${wanted} after ${timeoutMs} ms (it is at ${seen}); call resume() or lag(0), or wait longer`,
            ),
        },
      ),
    );
  }

  #requireStandby(operation: string): void {
    this.requireRunning(operation);
    if (this.#role === 'standby') return;
    throw new EmbeddedError(
      'PL_EMBEDDED_REPLICA',
      `${this.name}.${operation}(): it was promoted and is no replica any more; call reseed() first.`,
    );
  }

  #late(operation: string, why: string): EmbeddedError {
    return new EmbeddedError('PL_EMBEDDED_TIMEOUT', `${this.name}.${operation}(): ${why}.`);
  }
}
