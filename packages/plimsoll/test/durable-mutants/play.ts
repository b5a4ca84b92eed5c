import type { TestDatabase } from '@plimsoll/embedded';
import type { App } from '../../src/app/app.ts';
import type { Database } from '../../src/database/database.ts';
import { sql } from '../../src/database/sql.ts';
import { untilIdle } from '../../src/testing/until-idle.ts';
import { until } from '../mutants/stage.ts';
import { declareLedger, type Ledger, type Library } from './ledger.ts';

/** A short history of accepted work that is the same each time. */
export interface Schedule {
  readonly name: string;
  /** Who, and how, if a rule that it is about were broken. */
  readonly hurts: string;
  readonly run: (play: Play) => Promise<void>;
}

/** What each effect of a payment has to be there for: once. */
const effects = ['paid', 'noted', 'shipped'] as const;

/** How one run of a schedule uses the library: one app on a database of its own, whose effects are counted afterwards. */
export class Play {
  readonly library: Library;
  readonly server: TestDatabase;
  /** Of no mutant. */
  readonly admin: Database;
  /** Called once, in the middle of a handler, after it has written: by what it does and the payment. */
  readonly meanwhile = new Map<string, () => Promise<void>>();
  readonly #accepted = new Set<number>();
  readonly #found: string[] = [];
  #operations = 0;
  #app: App | undefined;
  #ledger: Ledger | undefined;

  constructor(library: Library, server: TestDatabase, admin: Database) {
    this.library = library;
    this.server = server;
    this.admin = admin;
  }

  get operations(): number {
    return this.#operations;
  }

  /** One app that runs. */
  async app(): Promise<{ readonly app: App; readonly ledger: Ledger }> {
    this.#ledger ??= declareLedger(this.library, this.meanwhile);
    const { createApp, plan } = this.library;
    this.#app ??= createApp(
      plan({
        name: 'ledger',
        modules: [this.#ledger.module],
        http: { port: 0 },
        worker: { backoff: { baseMs: 20, maxMs: 50 }, pollMs: 50 },
        views: { waitMs: 10_000 },
        expectedPeak: { requestsPerSecond: 1 },
        objectives: { default: { p95Ms: 1_000, errorRate: 0 } },
      }),
      { databaseUrl: this.server.url, listen: false },
    );
    if (this.#operations === 0) await this.#app.start();
    this.#operations += 1;
    return { app: this.#app, ledger: this.#ledger };
  }

  /** A payment that nothing speaks against. */
  async pay(id: number): Promise<void> {
    const answer = await this.tryToPay(id);
    if (answer !== 'accepted') throw new Error(`payment ${id} was refused: ${answer}`);
  }

  /** As a client who sends a key: `accepted`, or the code of what refused it. */
  async tryToPay(id: number, key = `pay-${id}`): Promise<string> {
    const { app, ledger } = await this.app();
    const { createContext, runInContext } = this.library;
    try {
      await runInContext(createContext({ key }), () => app.call(ledger.contract.pay, { id }));
      this.#accepted.add(id);
      return 'accepted';
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error);
    }
  }

  /** All that was set off has happened. */
  async rest(): Promise<void> {
    const { app } = await this.app();
    await untilIdle(app);
  }

  async until(what: string, statement: ReturnType<typeof sql>): Promise<void> {
    await until(what, async () => (await this.admin.query(statement)).length > 0);
  }

  found(what: string): void {
    this.#found.push(what);
  }

  /** What is not as it was promised. */
  async verdict(): Promise<readonly string[]> {
    const found = [...this.#found];
    for (const effect of effects) {
      const rows = await this.admin.query<{ id: number; times: number }>(
        sql`select id, count(*)::int as times from ${sql.id('ledger', effect)} group by id`,
      );
      const times = new Map(rows.map((row) => [row.id, row.times]));
      for (const id of this.#accepted)
        if (times.get(id) !== 1)
          found.push(`payment ${id} was accepted, and ${effect} ${times.get(id) ?? 0} times`);
      for (const id of times.keys())
        if (!this.#accepted.has(id)) found.push(`payment ${id} was not accepted, and is ${effect}`);
    }
    const [view] = await this.admin.query<{ payments: number }>(sql`select payments from ledger.totals`);
    if ((view?.payments ?? 0) !== this.#accepted.size)
      found.push(`${this.#accepted.size} payments were accepted, and the view has ${view?.payments ?? 0}`);
    return found;
  }

  async end(): Promise<void> {
    await this.#app?.stop();
  }
}
