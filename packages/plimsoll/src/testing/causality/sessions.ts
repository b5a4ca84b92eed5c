import type { Dependency } from './history.ts';
import type { CausalSystem, Client } from './system.ts';
import type { SessionCounts, WorkloadSettings } from './workload-options.ts';
import { seededRandom } from './random.ts';

type Kind = keyof SessionCounts;

export interface SessionsReport {
  /** Reads and writes that were answered or failed. */
  readonly operations: number;
  readonly failedReads: number;
  /** Writes that rejected: taken as of unknown outcome. */
  readonly failedWrites: number;
  /** By message; the first hundred that differ. */
  readonly failures: Readonly<Record<string, number>>;
  /** By carrier. */
  readonly handOvers: Readonly<Record<string, number>>;
}

/** One client, while it lives. */
interface Session {
  readonly name: string;
  readonly random: () => number;
  /** Of the last answer, or of all where tabs share it. */
  token: string | undefined;
  /** When the answers so far are in it. */
  merged: Promise<void>;
  /** What it read last: stored with what it writes. */
  lastRead: Dependency | undefined;
  /** Asked for next, more often than not: what it wrote, or what must be there by what it read. */
  next: string | undefined;
  /** Keys that it comes back to. */
  readonly favourites: readonly string[];
}

const mostFailures = 100;
/** After a failure, so that a system that is down is not asked without pause. */
const failurePauseMs = 20;
const jobOperations = 3;
const burst = 5;

/** The sessions of one run. */
export class Sessions {
  readonly #system: CausalSystem;
  readonly #settings: WorkloadSettings;
  readonly #random: () => number;
  readonly #carriers: readonly (readonly [
    string,
    (token: string | undefined, choice: number) => Promise<string | undefined>,
  ])[];
  /** Those that live, for events to be given to. */
  readonly #living = new Set<Session>();
  readonly #jobs = new Set<Promise<void>>();
  readonly #failures = new Map<string, number>();
  readonly #handOvers = new Map<string, number>();
  readonly #startedMs: number;
  #begun = 0;
  #sessions = 0;
  #failedReads = 0;
  #failedWrites = 0;

  constructor(system: CausalSystem, settings: WorkloadSettings, random: () => number) {
    this.#system = system;
    this.#settings = settings;
    this.#random = random;
    this.#carriers = Object.entries(
      system.carriers ?? { text: (token: string | undefined) => Promise.resolve(token) },
    );
    this.#startedMs = settings.clock.monotonicMs();
  }

  async run(): Promise<void> {
    const { sessions } = this.#settings;
    const places = (Object.keys(sessions) as Kind[]).flatMap((kind) =>
      kind === 'tabs' && this.#system.merge === undefined
        ? []
        : Array.from({ length: sessions[kind] }, () => kind),
    );
    await Promise.all(places.map((kind) => this.#livesOf(kind)));
    await Promise.all(this.#jobs);
  }

  report(): SessionsReport {
    return {
      operations: this.#begun,
      failedReads: this.#failedReads,
      failedWrites: this.#failedWrites,
      failures: Object.fromEntries(this.#failures),
      handOvers: Object.fromEntries(this.#handOvers),
    };
  }

  get #isOver(): boolean {
    const { signal, operations } = this.#settings;
    return signal?.aborted === true || this.#begun >= operations;
  }

  /** One session after the other. */
  async #livesOf(kind: Kind): Promise<void> {
    while (!this.#isOver) {
      const session = this.#born(kind);
      this.#living.add(session);
      const lives = Math.ceil(this.#settings.sessionOperations * (0.5 + session.random()));
      const tabs = kind === 'tabs' ? 2 : 1;
      await Promise.all(
        Array.from({ length: tabs }, () => this.#live(session, kind, Math.ceil(lives / tabs))),
      );
      this.#living.delete(session);
      this.#settings.checker.forget(session.name);
    }
  }

  #born(kind: string): Session {
    this.#sessions += 1;
    const random = seededRandom(Math.floor(this.#random() * 2 ** 32));
    const favourites = Array.from({ length: 4 }, () => this.#anyKey(random));
    const name = `${kind}-${this.#sessions}`;
    return {
      name,
      random,
      token: undefined,
      merged: Promise.resolve(),
      lastRead: undefined,
      next: undefined,
      favourites,
    };
  }

  async #live(session: Session, kind: Kind, operations: number): Promise<void> {
    const { thinkMs, awayMs, handOverShare } = this.#settings;
    for (let done = 1; done <= operations && !this.#isOver; done += 1) {
      const wrote = await this.#operate(session);
      if (session.random() < handOverShare) await this.#handOver(session);
      // Who has changed something looks at it at once.
      if (kind === 'slow' && !wrote) await this.#pause(-Math.log(1 - session.random()) * thinkMs);
      if (kind === 'returning' && done % burst === 0) await this.#pause(awayMs * (0.5 + session.random()));
    }
  }

  async #pause(ms: number): Promise<void> {
    const { clock, signal } = this.#settings;
    await clock.sleep(ms, signal);
  }

  #anyKey(random: () => number): string {
    return `k${Math.floor(random() * this.#settings.keys)}`;
  }

  #keyFor(session: Session): string {
    const { random, favourites, next } = session;
    session.next = undefined;
    if (next !== undefined && random() < 0.7) return next;
    const favourite = favourites[Math.floor(random() * favourites.length)];
    return favourite !== undefined && random() < 0.6 ? favourite : this.#anyKey(random);
  }

  get #nowMs(): number {
    return Math.round((this.#settings.clock.monotonicMs() - this.#startedMs) * 1_000) / 1_000;
  }

  /** Answers whether it was a write. */
  async #operate(session: Session): Promise<boolean> {
    this.#begun += 1;
    const key = this.#keyFor(session);
    const writes = session.random() >= this.#settings.readShare;
    const client = { session: session.name, token: session.token, choice: session.random() };
    try {
      await (writes ? this.#write(session, key, client) : this.#read(session, key, client));
    } catch (error) {
      if (writes) this.#failedWrites += 1;
      else this.#failedReads += 1;
      const message = `${writes ? 'write' : 'read'}: ${error instanceof Error ? error.message : String(error)}`;
      const count = this.#failures.get(message);
      if (count !== undefined || this.#failures.size < mostFailures)
        this.#failures.set(message, (count ?? 0) + 1);
      await this.#pause(failurePauseMs);
    }
    return writes;
  }

  async #read(session: Session, key: string, client: Client): Promise<void> {
    const { checker } = this.#settings;
    const begun = checker.begin(session.name, key, this.#nowMs);
    const { version, history, note, token, level, where } = await this.#system.read(key, client);
    await this.#give(session, token, client.token);
    const dependsOn = dependencyIn(note);
    checker.endRead(begun, { version, history, dependsOn, level, where, at: this.#nowMs });
    session.lastRead = { key, version, history };
    if (dependsOn !== undefined) session.next = dependsOn.key;
  }

  async #write(session: Session, key: string, client: Client): Promise<void> {
    const { checker } = this.#settings;
    const begun = checker.begin(session.name, key, this.#nowMs);
    const note = session.lastRead === undefined ? '' : noteOf(session.lastRead);
    try {
      const { version, history, token, where } = await this.#system.write(key, note, client);
      await this.#give(session, token, client.token);
      checker.endWrite(begun, { version, history, where, at: this.#nowMs });
    } catch (error) {
      checker.endWrite(begun, { version: undefined, at: this.#nowMs });
      throw error;
    }
    session.next = key;
  }

  /** `sent` is what the request had: an answer to it knows all of that. */
  async #give(session: Session, token: string | undefined, sent: string | undefined): Promise<void> {
    if (token === undefined) return;
    if (this.#system.merge === undefined) {
      session.token = token;
      return;
    }
    // One after the other, or one tab's answer would undo what another one's has told.
    const merged = session.merged.then(async () => {
      session.token = session.token === sent ? token : await this.#system.merge?.(session.token, token);
    });
    session.merged = merged.catch(() => undefined);
    await merged;
  }

  /** To a new session that does a little, as a job does; or, where tokens merge, to one that is there, as an event is. */
  async #handOver(session: Session): Promise<void> {
    const { checker } = this.#settings;
    const [name, carry] = this.#carriers[Math.floor(session.random() * this.#carriers.length)] ?? [];
    if (name === undefined || carry === undefined) return;
    const others = [...this.#living].filter((other) => other !== session);
    const known =
      this.#system.merge === undefined ? undefined : others[Math.floor(session.random() * others.length)];
    const to = session.random() < 0.5 ? known : undefined;
    const handed = checker.handOver(session.name);
    let token: string | undefined;
    try {
      token = await carry(session.token, session.random());
    } catch {
      // It did not arrive, so nobody knows.
      return;
    }
    this.#handOvers.set(name, (this.#handOvers.get(name) ?? 0) + 1);
    if (to !== undefined && this.#living.has(to)) {
      // It was not asked by this one, and knows nothing of what that has.
      await this.#give(to, token, undefined);
      checker.take(to.name, handed);
      return;
    }
    const job = this.#born(name);
    job.token = token;
    checker.take(job.name, handed);
    const work = this.#work(job).finally(() => this.#jobs.delete(work));
    this.#jobs.add(work);
  }

  async #work(job: Session): Promise<void> {
    for (let done = 0; done < jobOperations && !this.#isOver; done += 1) await this.#operate(job);
    this.#settings.checker.forget(job.name);
  }
}

const noteOf = ({ key, version, history }: Dependency): string =>
  `${key} ${version}${history === undefined ? '' : ` ${history}`}`;

function dependencyIn(note: string | undefined): Dependency | undefined {
  if (note === undefined || note === '') return undefined;
  const [key = '', version, history] = note.split(' ');
  return { key, version: Number(version), history: history === undefined ? undefined : Number(history) };
}
