import type { Clock } from '../../kernel/clock.ts';
import { background } from '../../kernel/channels.ts';
import type { Lsn } from '../../kernel/seen.ts';
import { isConnectionFailure, sqlState } from '../failures.ts';
import { tellsNoPosition, type Causality, type Sampled } from './causality.ts';
import { LagRing } from './lag-ring.ts';
import { Monitor, type OpenMonitor } from './monitor.ts';
import type { RoutingSettings } from './options.ts';
import { columnsOf, primaryColumns, readReplica, replicaColumns } from './position.ts';
import { quietSleep } from './quiet-sleep.ts';
import { ReplicaState } from './replica-state.ts';
import { isRefused } from './trouble.ts';

export interface WatchOptions {
  readonly causality: Causality;
  readonly settings: RoutingSettings;
  readonly scope: object;
  readonly clock: Clock;
  readonly primary: OpenMonitor;
  readonly replicas: readonly OpenMonitor[];
}

const primaryPoll = `select ${primaryColumns}, to_regclass('plimsoll.epoch') is not null as has_table`;
const primaryPollWithRow = `select ${primaryColumns}, (select id::text from plimsoll.epoch) as row_id`;
const replicaPoll = `select ${replicaColumns}, (select timeline_id from pg_control_checkpoint()) as timeline`;
const replicaPollWithRow = `select ${replicaColumns}, (select id::text from plimsoll.epoch) as row_id`;

/** After the last read for this long polls become rare, and then end. */
const busyMs = 1_000;
const restMs = 30_000;

/**
 * Keeps the states of the replicas and the position of the primary, by one connection to each while there are reads.
 * Polls of one server never overlap: whoever asks while one is under way shares it or the next one.
 */
export class Watch {
  readonly ring = new LagRing();
  readonly states: readonly ReplicaState[];
  readonly #options: WatchOptions;
  readonly #primary: Monitor;
  readonly #replicas: readonly Monitor[];
  /** Polls under way. */
  readonly #asking: (Promise<void> | undefined)[];
  #sampling: Promise<Sampled | undefined> | undefined;
  #nextSample: Promise<Sampled | undefined> | undefined;
  /** Highest that the primary is known to have written. */
  #inserted: Lsn = 0n;
  /** The epoch that the states belong to. */
  #epoch: string | undefined;
  /** Whether the table of the epoch was there when the primary was last asked without knowing its row. */
  #hadTable = false;
  #lastReadMs = -Infinity;
  /** Set while polls go on by themselves. */
  #loops: AbortController | undefined;
  #ended: Promise<unknown> = Promise.resolve();
  #polls = 0;
  #closed = false;

  constructor(options: WatchOptions) {
    const { settings } = options;
    this.#options = options;
    this.states = options.replicas.map(() => new ReplicaState(settings));
    this.#primary = new Monitor(options.primary, settings.pollTimeoutMs);
    this.#replicas = options.replicas.map((open) => new Monitor(open, settings.pollTimeoutMs));
    this.#asking = options.replicas.map(() => undefined);
  }

  get polls(): number {
    return this.#polls;
  }

  get inserted(): Lsn {
    return this.#inserted;
  }

  /** There is a read: polls go on, or begin. */
  touch(): void {
    this.#lastReadMs = this.#options.clock.monotonicMs();
    this.syncEpoch();
    if (this.#loops !== undefined || this.#closed) return;
    const loops = new AbortController();
    this.#loops = loops;
    this.#ended = Promise.all([
      this.#every(() => this.samplePrimary().catch(() => undefined), loops),
      ...this.states.map((_, index) => this.#every(() => this.refresh(index), loops)),
    ]).then(() => this.#rest(loops));
  }

  /** A commit was told its position. */
  noteCommit(sentAtMs: number, written: Lsn): void {
    this.syncEpoch();
    this.ring.note(sentAtMs, written);
    this.noteInserted(written);
  }

  /** The primary has written at least this: it said so, or one that follows it shows it. */
  noteInserted(position: Lsn): void {
    if (position > this.#inserted) this.#inserted = position;
  }

  /** Somebody may have learnt of another epoch. */
  syncEpoch(): void {
    const epoch = this.#options.causality.epoch?.text;
    if (epoch === this.#epoch) return;
    const first = this.#epoch === undefined;
    this.#epoch = epoch;
    this.ring.clear();
    this.#inserted = 0n;
    for (const state of this.states) state.historyChanged(first);
  }

  /** Asks all replicas where they are; each is asked once at a time. Never rejects. */
  async refreshAll(): Promise<void> {
    await Promise.all(this.states.map((_, index) => this.refresh(index)));
  }

  refresh(index: number): Promise<void> {
    return (this.#asking[index] ??= this.#poll(index).finally(() => {
      this.#asking[index] = undefined;
    }));
  }

  /** Asks the primary, from after the call. Rejects when it cannot be asked; undefined when it is none. */
  samplePrimary(): Promise<Sampled | undefined> {
    if (this.#sampling === undefined) return this.#sampleNow();
    return (this.#nextSample ??= this.#sampling
      .catch(() => undefined)
      .then(() => {
        this.#nextSample = undefined;
        return this.#sampleNow();
      }));
  }

  #sampleNow(): Promise<Sampled | undefined> {
    const sampling = (this.#sampling = this.#sample().finally(() => {
      if (this.#sampling === sampling) this.#sampling = undefined;
    }));
    return sampling;
  }

  async #sample(): Promise<Sampled | undefined> {
    const { causality, clock } = this.#options;
    const { turn, epoch } = causality;
    const sentAtMs = clock.monotonicMs();
    this.#polls += 1;
    const text = epoch?.rowId === undefined ? primaryPoll : primaryPollWithRow;
    const row = await this.#primary.ask(text).catch(async (error: unknown) => {
      if (epoch === undefined && tellsNoPosition(error))
        await causality.learn((question) => this.#primary.ask(question));
      throw error;
    });
    let position = causality.positionIn(row);
    if (position === undefined || !causality.accepts(position)) return undefined;
    const [last] = columnsOf(row).slice(-1);
    if (!this.#isSame(last) || !causality.knows(position.timeline)) {
      const learned = await causality.learn((text) => this.#primary.ask(text));
      if (learned === undefined) return undefined;
      position = learned.position;
    }
    this.noteCommit(sentAtMs, position.flushed);
    this.noteInserted(position.inserted);
    return { position, turn };
  }

  /** Whether the end of a poll of the primary agrees with the epoch that is known. */
  #isSame(last: unknown): boolean {
    const { epoch } = this.#options.causality;
    if (epoch?.rowId !== undefined) return last === epoch.rowId;
    const had = this.#hadTable;
    this.#hadTable = last === true;
    return had === this.#hadTable;
  }

  async #poll(index: number): Promise<void> {
    const state = this.states[index];
    const monitor = this.#replicas[index];
    if (state === undefined || monitor === undefined) return;
    this.#polls += 1;
    try {
      const { causality } = this.#options;
      let asked: string | undefined;
      let row: unknown;
      // What was asked while another epoch was known proves nothing of this one.
      do {
        asked = causality.epoch?.text;
        row = await this.#askReplica(monitor);
      } while (causality.epoch?.text !== asked);
      this.syncEpoch();
      const { replayed, incarnation } = readReplica(row);
      const nowMs = this.#options.clock.monotonicMs();
      const at = replayed ?? 0n;
      const follows = this.#follows(row);
      if (follows) this.noteInserted(at);
      state.polled(
        {
          replayed,
          incarnation: incarnation ?? 0,
          follows,
          lagMs: this.ring.lagMs(at, nowMs),
          lagBytes: Math.max(0, Number(this.ring.newest - at)),
        },
        nowMs,
      );
    } catch (error) {
      if (this.#closed) return;
      // It answers; and what is read there goes by no position.
      if (this.#options.settings.pooler === 'opaque' && tellsNoPosition(error)) return this.#isThere(state);
      if (isRefused(error)) state.refused();
      state.pollFailed();
      const what = `asking replica-${index + 1} for its position`;
      if (!isConnectionFailure(error)) background.publish({ scope: this.#options.scope, what, error });
    }
  }

  #isThere(state: ReplicaState): void {
    const unknown = { replayed: 0n, incarnation: 0, lagMs: 0, lagBytes: 0 };
    state.polled({ ...unknown, follows: true }, this.#options.clock.monotonicMs());
  }

  async #askReplica(monitor: Monitor): Promise<unknown> {
    const withRow = this.#options.causality.epoch?.rowId !== undefined;
    try {
      return await monitor.ask(withRow ? replicaPollWithRow : replicaPoll);
    } catch (error) {
      const state = sqlState(error);
      // The table is not there yet: what the replica shows proves nothing. A conflict may hit a poll, too.
      if (state === '42P01') return monitor.ask(`select ${replicaColumns}, null as row_id`);
      if (state === '40001') return monitor.ask(withRow ? replicaPollWithRow : replicaPoll);
      throw error;
    }
  }

  /** By the row that its primary wrote; without one, by the timeline. */
  #follows(row: unknown): boolean {
    const { epoch } = this.#options.causality;
    if (epoch === undefined) return true;
    const [proof] = columnsOf(row).slice(-1);
    return epoch.rowId === undefined ? proof === epoch.timeline : proof === epoch.rowId;
  }

  async #every(ask: () => Promise<unknown>, loops: AbortController): Promise<void> {
    const { clock, settings } = this.#options;
    while (!loops.signal.aborted) {
      await ask();
      const idleMs = clock.monotonicMs() - this.#lastReadMs;
      if (idleMs > restMs) loops.abort();
      await quietSleep(idleMs > busyMs ? settings.idlePollMs : settings.pollMs, loops.signal);
    }
  }

  async #rest(loops: AbortController): Promise<void> {
    await Promise.all([this.#primary, ...this.#replicas].map((monitor) => monitor.rest()));
    if (this.#loops === loops) this.#loops = undefined;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#loops?.abort();
    await Promise.all([this.#primary, ...this.#replicas].map((monitor) => monitor.close()));
    await this.#ended;
  }
}
