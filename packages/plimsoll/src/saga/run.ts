import { askedMs, backoffMs } from '../durable/backoff.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { jsonCopy } from '../kernel/json-copy.ts';
import { resultOf, settledOf, type ArrivedEvent, type AwaitedEvent, type StepCommand } from './callable.ts';
import { SagaFailure, troubleOf } from './failure.ts';
import { kept, type Asked, type Kept, type NewRow, type Place } from './history.ts';
import { recordable } from './recordable.ts';
import {
  stepDefaults,
  type AnySaga,
  type Approval,
  type ChildResult,
  type Run,
  type StepOptions,
} from './saga.ts';
import { blocked, type Blocked, type Turn } from './turn.ts';

type AnyStepOptions = StepOptions<StepCommand, StepCommand>;
type Options = Readonly<{ timeoutMs?: number | undefined }>;

/** A place that the code has come to. */
interface Visit {
  readonly place: string;
  readonly known: Place;
}

/** The steps of one scope: the saga itself or a branch of it. */
export class SagaRun {
  readonly #turn: Turn;
  readonly #scope: string;
  /** By event and key, the position of the last one that was waited for here, or before the branch began. */
  readonly #seen: Map<string, number>;
  #asked = 0;

  constructor(turn: Turn, scope: string, seen: ReadonlyMap<string, number> = new Map()) {
    this.#turn = turn;
    this.#scope = scope;
    this.#seen = new Map(seen);
  }

  get id(): string {
    return this.#turn.id;
  }

  #place(): string {
    this.#asked += 1;
    return `${this.#scope}${this.#asked}`;
  }

  /** What happens at the next place; what is recorded there must be the same. Undefined: the run goes no further. */
  #visit(asked: Asked): Visit | undefined {
    const place = this.#place();
    try {
      return { place, known: this.#turn.history.visit(place, asked) };
    } catch (error) {
      this.#turn.strand(error);
      return undefined;
    }
  }

  step(name: string, command: StepCommand, input: unknown, options: AnyStepOptions = {}): Promise<unknown> {
    const { history } = this.#turn;
    const visit = this.#visit({ op: 'step', name, operation: command.id });
    return this.#turn.work<unknown>(async (answer) => {
      if (visit === undefined) return blocked;
      const { place, known } = visit;
      if (known.done !== undefined) return known.done.output?.value;
      if (known.arrived !== undefined) {
        // Somebody did it by hand, and says what came of it.
        const result = resultOf(command, known.arrived.output?.value);
        history.add(doneRow(place, command, result, options));
        return result;
      }
      if (known.began === undefined) {
        if (!this.#turn.open) return blocked;
        const given = kept(jsonCopy(input, `input of step ${JSON.stringify(name)} of ${this.#turn.where}`));
        history.add({ kind: 'began', place, op: 'step', name, operation: command.id, input: given });
      } else if (known.tries >= maxAttemptsOf(options)) {
        return this.#turn.exhausted(name, known);
      }
      await this.#turn.write();
      const ended = await this.#turn.step(
        {
          place,
          command,
          // What was recorded is asked again, so that a call with the same key is the same call.
          input: known.began?.input?.value,
          key: `${place}:${name}`,
          rowOf: (result) => doneRow(place, command, recordable(result, `result of ${command.id}`), options),
        },
        ({ output }) => answer(givenTo(output)),
      );
      if (ended.kind === 'threw') return this.#threw(place, name, known, ended.error, options);
      if (ended.kind === 'returned') history.add(ended.row);
      return givenTo(ended.row.output);
    });
  }

  #threw(place: string, name: string, known: Place, error: unknown, options: AnyStepOptions): Blocked {
    this.#turn.history.add({ kind: 'threw', place, op: 'step', error: troubleOf(error) });
    if (known.tries >= maxAttemptsOf(options)) return this.#turn.exhausted(name, known);
    const waitMs = backoffMs(known.tries, { ...this.#turn.backoff, ...options.backoff }, this.#turn.random);
    return this.#turn.retryIn(Math.max(waitMs, askedMs(error)));
  }

  sleep(name: string, ms: number): Promise<void> {
    const visit = this.#visit({ op: 'sleep', name });
    return this.#turn.work(async () => {
      const waited = this.#wait(visit, { op: 'sleep', name }, ms);
      if (waited === 'timedOut')
        this.#turn.history.add({ kind: 'done', place: visit?.place ?? '', op: 'sleep' });
      return waited === blocked ? blocked : undefined;
    }) as Promise<void>;
  }

  waitFor(
    name: string,
    event: AwaitedEvent,
    { key, timeoutMs }: Options & { readonly key: string },
  ): Promise<unknown> {
    const { history } = this.#turn;
    const stream = `${event.id}/${key}`;
    const visit = this.#visit({ op: 'event', name, operation: event.id });
    return this.#turn.work(async () => {
      const input = kept({ key, after: this.#seen.get(stream) });
      const waited = this.#wait(visit, { op: 'event', name, operation: event.id }, timeoutMs, input);
      if (waited === blocked || visit === undefined) return blocked;
      const { place } = visit;
      const output = waited === 'timedOut' ? {} : waited;
      if (visit.known.done === undefined) history.add({ kind: 'done', place, op: 'event', output });
      if (output.value === undefined) return undefined;
      const arrived = output.value as ArrivedEvent;
      this.#noteSeen(stream, arrived.position);
      return this.#turn.payloadOf(event, arrived);
    });
  }

  approval(name: string, { timeoutMs }: Options = {}): Promise<Approval> {
    const visit = this.#visit({ op: 'approval', name });
    return this.#turn.work(async () => {
      const waited = this.#wait(visit, { op: 'approval', name }, timeoutMs);
      if (waited === blocked || visit === undefined) return blocked;
      const output = waited === 'timedOut' ? kept({ decision: 'timedOut' }) : waited;
      if (visit.known.done === undefined)
        this.#turn.history.add({ kind: 'done', place: visit.place, op: 'approval', output });
      return output.value;
    }) as Promise<Approval>;
  }

  child(name: string, saga: AnySaga, input: unknown): Promise<ChildResult<unknown>> {
    const sagaName = this.#turn.nameOf(saga);
    const visit = this.#visit({ op: 'child', name, operation: sagaName });
    return this.#turn.work(async () => {
      if (visit === undefined) return blocked;
      if (visit.known.began === undefined && this.#turn.open)
        this.#turn.startChild({ place: visit.place, name, operation: sagaName }, saga, input);
      const waited = this.#wait(visit, { op: 'child', name, operation: sagaName }, undefined);
      if (waited === blocked || waited === 'timedOut') return blocked;
      if (visit.known.done === undefined)
        this.#turn.history.add({ kind: 'done', place: visit.place, op: 'child', output: waited });
      return waited.value;
    }) as Promise<ChildResult<unknown>>;
  }

  /** Waits for the outside or for time; what came from outside is what counts, if both are there. */
  #wait(
    visit: Visit | undefined,
    asked: Asked,
    timeoutMs: number | undefined,
    input?: Kept,
  ): Kept | Blocked | 'timedOut' {
    if (visit === undefined) return blocked;
    const { place, known } = visit;
    if (known.done !== undefined) return known.done.output ?? {};
    if (known.arrived !== undefined) return known.arrived.output ?? {};
    if (known.began === undefined) {
      if (!this.#turn.open) return blocked;
      const waitsMs = timeoutMs === undefined ? {} : { waitsMs: Math.max(0, timeoutMs) };
      this.#turn.history.add({
        kind: 'began',
        place,
        ...asked,
        ...waitsMs,
        ...(input === undefined ? {} : { input }),
      });
      return this.#turn.wakeIn(timeoutMs);
    }
    if (known.began.waitsMs === null) return this.#turn.wakeIn(undefined);
    const leftMs = this.#turn.leftMs(known.began.atMs + known.began.waitsMs);
    return leftMs > 0 || !this.#turn.open ? this.#turn.wakeIn(leftMs) : 'timedOut';
  }

  async all(
    branches: Readonly<Record<string, (run: Run) => Promise<unknown>>>,
  ): Promise<Record<string, unknown>> {
    const place = this.#place();
    try {
      this.#turn.history.fork(place);
    } catch (error) {
      this.#turn.strand(error);
      return this.#turn.work(async () => blocked) as Promise<never>;
    }
    const entries = Object.entries(branches);
    for (const [name] of entries) {
      if (!/^[a-zA-Z_]\w*$/.test(name))
        throw new PlimsollError(
          'PL_CONFIG',
          `${this.#turn.where}: the branch ${JSON.stringify(name)} of run.all must be letters and digits`,
        );
    }
    const runs = entries.map(([name]) => new SagaRun(this.#turn, `${place}.${name}.`, this.#seen));
    const values = await Promise.all(entries.map(([, branch], index) => branch(runOf(runs[index] ?? this))));
    for (const run of runs) for (const [stream, position] of run.#seen) this.#noteSeen(stream, position);
    return Object.fromEntries(entries.map(([name], index) => [name, values[index]]));
  }

  #noteSeen(stream: string, position: number): void {
    this.#seen.set(stream, Math.max(position, this.#seen.get(stream) ?? 0));
  }

  now(): number {
    return this.#value('now', () => this.#turn.now());
  }

  random(): number {
    return this.#value('random', () => this.#turn.random());
  }

  #value(name: string, make: () => number): number {
    const visit = this.#visit({ op: 'value', name });
    const recorded = visit?.known.done?.output?.value;
    if (typeof recorded === 'number') return recorded;
    const value = make();
    // A run that goes no further does nothing with it.
    if (visit !== undefined && this.#turn.open)
      this.#turn.history.add({ kind: 'done', place: visit.place, op: 'value', name, output: kept(value) });
    return value;
  }

  fail(error: string, data: unknown): SagaFailure {
    return new SagaFailure(error, jsonCopy(data, `data of ${error}, with which ${this.#turn.where} fails,`));
  }
}

/** The same, with the types that its author sees; its functions may be taken apart. */
export function runOf(run: SagaRun): Run {
  return {
    get id(): string {
      return run.id;
    },
    step: run.step.bind(run),
    sleep: run.sleep.bind(run),
    waitFor: run.waitFor.bind(run),
    approval: run.approval.bind(run),
    child: run.child.bind(run),
    all: run.all.bind(run),
    now: run.now.bind(run),
    random: run.random.bind(run),
    fail: run.fail.bind(run),
  } as unknown as Run;
}

/** What is recorded of a step that has come to this. */
function doneRow(place: string, command: StepCommand, result: unknown, options: AnyStepOptions): NewRow {
  const settled = settledOf(command, result);
  const undo = settled.ok ? options.compensate?.(settled.value as never) : undefined;
  const compensation =
    undo === undefined
      ? {}
      : {
          compensation: {
            operation: undo[0].id,
            input: kept(jsonCopy(undo[1], `input of ${undo[0].id}, which undoes ${command.id},`)),
          },
        };
  return { kind: 'done', place, op: 'step', output: kept(result), ...compensation };
}

/** A copy, so that what the code does with it is not what is recorded. */
const givenTo = (output: Kept | undefined): unknown => jsonCopy(output?.value, 'a result');

const maxAttemptsOf = ({ maxAttempts }: AnyStepOptions): number => maxAttempts ?? stepDefaults.maxAttempts;
