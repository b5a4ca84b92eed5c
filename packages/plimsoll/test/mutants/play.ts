import pg from 'pg';
import type { InvalidationBus } from '../../src/cache/bus.ts';
import type { Cache } from '../../src/cache/cache.ts';
import type { CacheOptions } from '../../src/cache/options.ts';
import type { CachePolicy } from '../../src/cache/policy.ts';
import type { Position } from '../../src/cache/position.ts';
import type { Database, DatabaseOptions } from '../../src/database/database.ts';
import type { Consistency } from '../../src/database/routing/consistency.ts';
import type { Sql } from '../../src/database/sql.ts';
import type { Transaction } from '../../src/database/transaction.ts';
import type { Seen } from '../../src/kernel/seen.ts';
import { checkHistory } from '../../src/testing/causality/check-history.ts';
import { describeViolation, type Operation } from '../../src/testing/causality/history.ts';
import type { Stage } from './stage.ts';

export type Library = typeof import('./library.ts');

/** A short history that is the same each time. */
export interface Schedule {
  readonly name: string;
  /** Who, and how, if a rule that it is about were broken. */
  readonly hurts: string;
  readonly run: (play: Play) => Promise<void>;
}

export interface Session {
  readonly name: string;
  /** Replaced when its text goes to another process. */
  seen: Seen;
}

/** How one run of a schedule uses the library: on one row, with everything that is done there in a history. */
export class Play {
  readonly library: Library;
  readonly stage: Stage;
  readonly key: string;
  readonly tag: string;
  readonly find: Sql;
  readonly policy: CachePolicy;
  readonly #operations: Operation[] = [];
  readonly #open: (() => Promise<unknown>)[] = [];
  /** Orders beginnings and ends of operations. */
  #moment = 0;

  constructor(library: Library, stage: Stage, key: string) {
    this.library = library;
    this.stage = stage;
    this.key = key;
    this.tag = `row:${key}`;
    this.find = library.sql`select version from item where key = ${key}`;
    this.policy = library.cachePolicy({ ttlMs: 3_600_000, tags: [this.tag] });
  }

  /** What is wrong with what was done; empty when nothing is. */
  verdict(): readonly string[] {
    return checkHistory(this.#operations).map(describeViolation);
  }

  get operations(): number {
    return this.#operations.length;
  }

  /** Ends what was opened, the last first. */
  async end(): Promise<void> {
    for (const close of this.#open.toReversed()) await close();
  }

  onEnd(close: () => Promise<unknown>): void {
    this.#open.push(close);
  }

  session(name: string): Session {
    return { name, seen: new this.library.Seen() };
  }

  /** Its next request goes to another process, with the text of its token and nothing else. */
  hop(session: Session): void {
    const tokens = this.library.seenTokens();
    const text = tokens.write(session.seen);
    session.seen = (text === undefined ? undefined : tokens.read(text)) ?? new this.library.Seen();
  }

  /** The router of one process, which has asked all servers. Polls may be late without anything being wrong. */
  async database(options: Partial<DatabaseOptions> = {}): Promise<Database> {
    const { routing, ...rest } = options;
    const database = this.library.createDatabase({
      url: this.stage.server.url,
      replicaUrls: this.stage.server.replicaUrls,
      pool: { max: 4 },
      ...rest,
      routing: { pollTimeoutMs: 5_000, lagBudgetMs: 600_000, slowStartMs: 0, ...routing },
    });
    this.onEnd(() => database.close());
    await database.ping();
    return database;
  }

  pool(): pg.Pool {
    const pool = new pg.Pool({ connectionString: this.stage.server.url, max: 3 });
    pool.on('error', () => undefined);
    this.onEnd(() => pool.end());
    return pool;
  }

  /** The cache of one process. Those of one run have one name. */
  async cache(database: Database, options: Partial<CacheOptions> = {}): Promise<Cache> {
    const cache = this.library.createCache({
      name: this.key,
      database: database.name,
      sharedSoftMs: 5_000,
      sharedHardMs: 10_000,
      ...options,
    });
    this.onEnd(() => cache.stop());
    await cache.start();
    return cache;
  }

  /** Commits the next version of the row; answers where. */
  async write(
    session: Session,
    database: Database,
    beforeCommit?: (tx: Transaction) => Promise<unknown>,
  ): Promise<Position & { readonly version: number }> {
    const { sql } = this.library;
    const began = this.#next();
    const version = await database.transaction(
      async (tx) => {
        const row = await tx.one<{ version: number }>(
          sql`update item set version = version + 1 where key = ${this.key} returning version`,
        );
        await beforeCommit?.(tx);
        return row.version;
      },
      { seen: session.seen },
    );
    this.#operations.push({
      kind: 'write',
      session: session.name,
      key: this.key,
      version,
      began,
      ended: this.#next(),
    });
    const mark = session.seen.mark(database.name);
    return { version, epoch: mark?.epoch ?? '', lsn: mark?.written ?? 0n };
  }

  async read(
    session: Session,
    database: Database,
    { consistency, text = this.find }: { readonly consistency?: Consistency; readonly text?: Sql } = {},
  ): Promise<number> {
    const options = { seen: session.seen, ...(consistency === undefined ? {} : { consistency }) };
    return await this.#noted(session, 'through the router', async () => {
      const { version } = await database.readOnly((db) => db.one<{ version: number }>(text), options);
      return version;
    });
  }

  /** A cached read; `load` is what reads the row through the router where nothing else is given. */
  async get(
    session: Session,
    cache: Cache,
    database: Database,
    load: () => Promise<number> = this.loader(database),
  ): Promise<number> {
    const { createContext, runInContext } = this.library;
    return await this.#noted(session, 'through the cache', () =>
      runInContext(createContext({ seen: session.seen }), () => cache.get(this.key, this.policy, load)),
    );
  }

  loader(database: Database, consistency: Consistency = 'session'): () => Promise<number> {
    return async () => {
      const read = database.readOnly((db) => db.one<{ version: number }>(this.find), { consistency });
      return (await read).version;
    };
  }

  /** A load that has read and does not answer yet. */
  heldLoader(database: Database): {
    readonly load: () => Promise<number>;
    readonly read: Promise<void>;
    readonly release: () => void;
  } {
    const [read, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const load = this.loader(database);
    return {
      read: read.promise,
      release: held.resolve,
      load: async () => {
        const version = await load();
        read.resolve();
        await held.promise;
        return version;
      },
    };
  }

  async #noted(session: Session, where: string, read: () => Promise<number>): Promise<number> {
    const began = this.#next();
    const version = await read();
    const ended = this.#next();
    this.#operations.push({
      kind: 'read',
      session: session.name,
      key: this.key,
      version,
      began,
      ended,
      where,
    });
    return version;
  }

  #next(): number {
    this.#moment += 1;
    return this.#moment;
  }
}

/** A bus that passes on all it hears, when it may. */
export class HeldBus implements InvalidationBus {
  readonly #bus: InvalidationBus;
  readonly #held: (() => void)[] = [];
  #holds = false;
  #messages = 0;
  #distrusts = 0;

  constructor(bus: InvalidationBus) {
    this.#bus = bus;
  }

  /** Those that were passed on. */
  get messages(): number {
    return this.#messages;
  }
  get distrusts(): number {
    return this.#distrusts;
  }
  /** Those that were not, yet. */
  get held(): number {
    return this.#held.length;
  }

  hold(): void {
    this.#holds = true;
  }

  open(options: Parameters<InvalidationBus['open']>[0]): ReturnType<InvalidationBus['open']> {
    return this.#bus.open({
      ...options,
      onMessage: (message) => {
        const pass = (): void => {
          options.onMessage(message);
          this.#messages += 1;
        };
        if (this.#holds) this.#held.push(pass);
        else pass();
      },
      onTrust: (trusted, floor) => {
        options.onTrust(trusted, floor);
        if (!trusted) this.#distrusts += 1;
      },
    });
  }
}
