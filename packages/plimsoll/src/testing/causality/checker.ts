import { describeVersion } from './history.ts';
import type { Dependency, Guarantee, Loss, ReadLevel, Version, Violation } from './history.ts';

export interface CheckerOptions {
  /** Of all violations so many are kept with what came before them; the others are counted. Default 100. */
  readonly keptViolations?: number;
  /** How many operations of a session are remembered for that. Default 8. */
  readonly rememberedOperations?: number;
}

export const checkerDefaults: Required<CheckerOptions> = { keptViolations: 100, rememberedOperations: 8 };

/** A version, always with its history. */
interface Point {
  readonly version: number;
  readonly history: number;
}

/**
 * What the next read of one key must not be older than, by reason. More than one only where something was seen of
 * several histories and it was not told yet what was lost between them: none of them makes another one superfluous.
 */
interface Floors {
  written: readonly Point[];
  read: readonly Point[];
  followed: readonly Point[];
}

/** What one session has seen; it only grows. */
interface Knowledge {
  readonly floors: Map<string, Floors>;
  /** The newest history of which it has seen something. */
  history: number;
}

interface Session extends Knowledge {
  /** The last operations, oldest first, as text. */
  readonly recent: string[];
}

/** What a session had seen of one key when an operation began. */
export interface Begun {
  readonly session: string;
  readonly key: string;
  readonly began: number;
  /** @internal */
  readonly floors: Readonly<Floors>;
  /** @internal */
  readonly history: number;
}

/** What a session had seen when it handed it over. */
export interface HandedOver {
  readonly session: string;
  /** @internal */
  readonly knowledge: Knowledge;
}

export interface Ended {
  readonly at: number;
  readonly where?: string | undefined;
}

export interface ReadAnswer extends Version, Ended {
  readonly dependsOn?: Dependency | undefined;
  /** Default `session`. */
  readonly level?: ReadLevel | undefined;
}

const none: Point = { version: 0, history: -Infinity };

/**
 * Checks a history while it happens: of each session it keeps one version for each key and reason, so millions of
 * operations take no more memory than a few. Operations of one session may overlap: each is held to what had ended when
 * it began. Pure: it knows no clock and no database.
 */
export class CausalityChecker {
  readonly #options: Required<CheckerOptions>;
  readonly #sessions = new Map<string, Session>();
  readonly #losses: Loss[] = [];
  readonly #counts = new Map<Guarantee, number>();
  readonly #violations: Violation[] = [];
  #reads = 0;
  #writes = 0;
  #unknown = 0;

  constructor(options: CheckerOptions = {}) {
    this.#options = { ...checkerDefaults, ...options };
  }

  /** The first of them, as far as they are kept. */
  get violations(): readonly Violation[] {
    return this.#violations;
  }
  /** All of them. */
  get violationCount(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }
  get violationsByGuarantee(): Readonly<Partial<Record<Guarantee, number>>> {
    return Object.fromEntries(this.#counts);
  }
  get reads(): number {
    return this.#reads;
  }
  /** Those that were committed. */
  get writes(): number {
    return this.#writes;
  }
  /** Writes of which it is not known whether they were committed. */
  get unknown(): number {
    return this.#unknown;
  }

  /** Right before a read or a write is sent. */
  begin(session: string, key: string, at: number): Begun {
    const { floors, history } = this.#sessionOf(session);
    const { written, read, followed } = floors.get(key) ?? noFloors;
    return { session, key, began: at, floors: { written, read, followed }, history };
  }

  /** Right after its answer. Counts a violation for each guarantee that it breaks. */
  endRead(begun: Begun, answer: ReadAnswer): void {
    this.#reads += 1;
    const { session: name, key, floors } = begun;
    const { level = 'session', dependsOn } = answer;
    const got = pointOf(answer);
    const session = this.#sessionOf(name);
    const mustShow = (guarantee: Guarantee, points: readonly Point[]): void => {
      if (points.some((point) => this.#isOlder(key, got, point)))
        this.#report(guarantee, begun, session, this.#newest(key, points), answer);
    };
    if (level !== 'eventual') mustShow('read-your-writes', floors.written);
    if (level === 'session') {
      mustShow('monotonic-reads', floors.read);
      mustShow('writes-follow-reads', floors.followed);
      const lost = this.#lossOf(key, got, begun.history);
      if (lost !== undefined) this.#report('one-history', begun, session, leftBy(lost, key), answer);
      session.history = Math.max(session.history, got.history);
      this.#raise(session, key, 'read', got);
      if (dependsOn !== undefined) this.#raise(session, dependsOn.key, 'followed', pointOf(dependsOn));
    }
    const as = level === 'session' ? '' : ` (${level})`;
    this.#remember(session, `read ${key}, ${describeVersion(answer)}${as}`, answer);
  }

  /** Of a write whose outcome is not known, `version` is undefined. */
  endWrite(
    begun: Begun,
    answer: Ended & { readonly version: number | undefined; readonly history?: number | undefined },
  ): void {
    const { session: name, key, floors } = begun;
    const session = this.#sessionOf(name);
    const { version, history } = answer;
    if (version === undefined) {
      this.#unknown += 1;
      this.#remember(session, `wrote ${key}, outcome unknown`, answer);
      return;
    }
    this.#writes += 1;
    const got: Version = { version, history };
    const expected = this.#newest(key, [...floors.written, ...floors.read]);
    if (version <= expected.version)
      this.#report('monotonic-writes', begun, session, expected, { ...answer, ...got });
    session.history = Math.max(session.history, pointOf(got).history);
    this.#raise(session, key, 'written', pointOf(got));
    this.#remember(session, `wrote ${key}, ${describeVersion(got)}`, answer);
  }

  /** When a session's token is taken to somebody else; give what it answers to {@link take} when it gets there. */
  handOver(session: string): HandedOver {
    const { floors, history } = this.#sessionOf(session);
    return {
      session,
      knowledge: { floors: new Map([...floors].map(([key, each]) => [key, { ...each }])), history },
    };
  }

  take(to: string, { session: from, knowledge }: HandedOver): void {
    const session = this.#sessionOf(to);
    session.history = Math.max(session.history, knowledge.history);
    for (const [key, { written, read, followed }] of knowledge.floors) {
      for (const point of written) this.#raise(session, key, 'written', point);
      for (const point of read) this.#raise(session, key, 'read', point);
      for (const point of followed) this.#raise(session, key, 'followed', point);
    }
    this.#remember(session, `took over what ${from} has seen`);
  }

  /** A session that nobody will use again, so that it takes no memory. */
  forget(session: string): void {
    this.#sessions.delete(session);
  }

  /** A promotion: versions beyond the survivors are lost. Before anybody writes to the new primary. */
  lose(loss: Pick<Loss, 'history' | 'survivors'>): void {
    this.#losses.push({ kind: 'loss', ...loss });
    this.#losses.sort((one, other) => one.history - other.history);
  }

  #sessionOf(name: string): Session {
    let session = this.#sessions.get(name);
    if (session === undefined) {
      session = { floors: new Map(), history: -Infinity, recent: [] };
      this.#sessions.set(name, session);
    }
    return session;
  }

  /** The first of the losses that it did not survive, among those of histories up to `upTo`. */
  #lossOf(key: string, { version, history }: Point, upTo = Infinity): Loss | undefined {
    return this.#losses.find(
      (loss) => loss.history > history && loss.history <= upTo && version > (loss.survivors[key] ?? 0),
    );
  }

  /** What is left of it. */
  #current(key: string, point: Point): Point {
    let current = point;
    for (let loss = this.#lossOf(key, current); loss !== undefined; loss = this.#lossOf(key, current))
      current = leftBy(loss, key);
    return current;
  }

  #newest(key: string, points: readonly Point[]): Point {
    const left = points.map((point) => this.#current(key, point));
    return left.reduce((most, point) => (point.version > most.version ? point : most), none);
  }

  /** Also when its version is higher, and was lost in the history that the other one is of. */
  #isOlder(key: string, got: Point, than: Point): boolean {
    return (
      got.version < this.#current(key, than).version || this.#lossOf(key, got, than.history) !== undefined
    );
  }

  #raise(session: Session, key: string, what: keyof Floors, seen: Point): void {
    let floors = session.floors.get(key);
    if (floors === undefined) {
      floors = { ...noFloors };
      session.floors.set(key, floors);
    }
    const known = floors[what];
    if (known.some((point) => covers(point, seen))) return;
    // Kept as it was seen: what a loss leaves of it nobody has seen yet.
    floors[what] = [...known.filter((point) => !covers(seen, point)), seen];
  }

  #remember(session: Session, operation: string, ended?: Ended): void {
    const at = ended === undefined ? '' : `${ended.at}: `;
    session.recent.push(`${at}${operation}${ended?.where === undefined ? '' : `, ${ended.where}`}`);
    if (session.recent.length > this.#options.rememberedOperations) session.recent.shift();
  }

  #report(
    guarantee: Guarantee,
    { session, key, began }: Begun,
    { recent }: Session,
    expected: Version,
    { version, history, at, where }: Version & Ended,
  ): void {
    this.#counts.set(guarantee, (this.#counts.get(guarantee) ?? 0) + 1);
    if (this.#violations.length >= this.#options.keptViolations) return;
    const got = history === undefined ? { version } : { version, history };
    const least =
      expected.history === -Infinity
        ? { version: expected.version }
        : { version: expected.version, history: expected.history ?? 0 };
    this.#violations.push({
      guarantee,
      session,
      key,
      expected: least,
      got,
      began,
      ended: at,
      where,
      before: [...recent],
    });
  }
}

const noFloors: Floors = { written: [], read: [], followed: [] };

/** Whether who has seen the one cannot be shown less because of the other one, whatever is lost. */
const covers = (one: Point, other: Point): boolean =>
  one.version >= other.version && one.history >= other.history;

const leftBy = ({ history, survivors }: Loss, key: string): Point => ({
  version: survivors[key] ?? 0,
  history,
});

const pointOf = ({ version, history = -Infinity }: Version): Point => ({ version, history });
