import type { Database } from '../database/database.ts';
import { backoffDefaults, type BackoffOptions } from '../durable/backoff.ts';
import { claimedBy, completeTask, type ClaimedTask, type NewTask } from '../durable/task.ts';
import type { Reservation, TaskControl, TaskHandler } from '../durable/worker.ts';
import { background, sagas as sagaChannel, type SagaMessage } from '../kernel/channels.ts';
import { systemClock, type Clock } from '../kernel/clock.ts';
import { createContext, runInContext, type RequestContext } from '../kernel/context.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { taskSpan } from '../kernel/trace.ts';
import { validate, type MaybePromise } from '../kernel/validate.ts';
import type { ArrivedEvent, AwaitedEvent, StepCommand } from './callable.ts';
import type { BeginHere, BegunHere } from './begin-here.ts';
import { compensate } from './compensate.ts';
import { StepFailed, Superseded, type Trouble } from './failure.ts';
import { History, kept, type HistoryRow } from './history.ts';
import { runOf, SagaRun } from './run.ts';
import { recordable } from './recordable.ts';
import type { AnySaga } from './saga.ts';
import { backwardTask, childId, forwardTask, readHistory, type NewSaga, type SagaRow } from './statements.ts';
import type { RecordStep, StepCall } from './step-call.ts';
import {
  endAlone,
  endCommitted,
  endsAlone,
  endTurn,
  heldNew,
  save,
  saveIn,
  take,
  turnBack,
  type Additions,
  type Held,
  type Rest,
} from './store.ts';
import { hasAsked, Turn, type ChildPlace, type Outcome } from './turn.ts';
import { arriveFromLog } from './wait-events.ts';
import { newSaga } from './new-saga.ts';

/** A saga and the module it belongs to. */
export interface HostedSaga {
  readonly module: string;
  readonly saga: AnySaga;
}

export interface SagaRunnerOptions {
  readonly database: Database;
  /** By name: `orders.checkout`. */
  readonly sagas: ReadonlyMap<string, HostedSaga>;
  /**
   * Calls a command for a step of a module's saga, in the current context, whose key is the step's. Resolves to what
   * its caller gets: the value, or `{ ok }` where the command declares errors. `record` may be used where the command
   * has its effect in a transaction of the saga's database; without it the command has to know its key.
   */
  readonly call: (
    module: string,
    command: StepCommand,
    input: unknown,
    record: RecordStep,
  ) => Promise<unknown>;
  /** The command of that id: compensations are recorded by it. */
  readonly commandOf: (id: string) => StepCommand | undefined;
  /** The payload of a recorded event as its contract has it now. */
  readonly payloadOf: (event: AwaitedEvent, arrived: ArrivedEvent) => MaybePromise<unknown>;
  /** Waits between the calls of a step or a compensation that throws. Default from 1 s, doubling, up to 5 min. */
  readonly backoff?: BackoffOptions;
  /** How long a saga's code may wait for something that is not a step. Default 10_000. */
  readonly stallMs?: number;
  /** A slot of the worker that runs the handlers, for a saga that begins here. Default: sagas wait their turn. */
  readonly reserve?: (name: string) => Reservation | undefined;
  readonly clock?: Clock;
  readonly random?: () => number;
}

export const sagaDefaults = { stallMs: 10_000 } as const;

/** So long the clock of the database is taken to go as ours does, before it is looked at again. */
const clockMs = 60_000;

/** A run of the code that is under way. */
interface Running {
  readonly held: Held;
  readonly history: History;
  readonly outcome: Promise<Outcome>;
  /** Of the task; once it runs. */
  control: TaskControl | undefined;
}

export interface SagaRunner {
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly beginHere: BeginHere;
}

/** Whose work a context is for. */
interface Within {
  readonly task?: ClaimedTask;
  readonly control?: TaskControl | undefined;
  /** Of the step, in its key. */
  readonly place?: string;
}

const doneRest = (history: History, value: unknown): Rest => ({
  rows: history.takePending(),
  state: 'done',
  result: kept(value),
});

const whereOf = ({ id, version }: SagaRow): string => `saga ${id} (version ${version})`;

/**
 * What a worker runs for the sagas, by task name. A turn takes the saga, runs its code over what is recorded, and
 * ends when the saga does or when it waits: the end of its task, and the next one, commit with what it has come to.
 */
export function sagaTaskHandlers(options: SagaRunnerOptions): ReadonlyMap<string, TaskHandler> {
  return createSagaRunner(options).handlers;
}

/** {@link sagaTaskHandlers}, and what begins a saga where it is started. */
export function createSagaRunner(options: SagaRunnerOptions): SagaRunner {
  const { database } = options;
  const { scope } = database;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const backoff = { ...backoffDefaults, ...options.backoff };
  const stallMs = options.stallMs ?? sagaDefaults.stallMs;
  const names = new Map<AnySaga, string>();
  const handlers = new Map<string, TaskHandler>();
  for (const [name, { saga }] of options.sagas) {
    handlers.set(backwardTask(name), runTask);
    for (const [version, each] of saga.versions) {
      names.set(each, name);
      handlers.set(forwardTask(name, version), runTask);
    }
  }
  // By task: begun in the transaction that has started the saga, and not taken up by the worker yet.
  const begun = new Map<string, Running>();
  let databaseClock = { atMs: 0, readMs: -Infinity };
  return { handlers, beginHere };

  async function runTask(task: ClaimedTask, control?: TaskControl): Promise<void> {
    const { saga: id } = task.payload as { readonly saga: string };
    const failed = new Map<string, unknown>();
    for (;;) {
      const running = begun.get(task.id);
      begun.delete(task.id);
      const held = running?.held ?? (await take(database, task, id));
      if (held === undefined) {
        // Its turn is over, or is that of another task; only this one is left to end.
        await database.execute(completeTask(task));
        return;
      }
      try {
        if (running === undefined) {
          databaseClock = { atMs: held.saga.atMs, readMs: clock.monotonicMs() };
          if (await runTurn(held, failed, control)) return;
        } else {
          running.control = control;
          if (await goOn(running)) return;
        }
      } catch (error) {
        if (error instanceof StepFailed) {
          if (await endCommitted(database, held)) return tell(held.saga, 'done');
          failed.set(error.place, error.cause);
        } else if (!(error instanceof Superseded)) throw error;
      }
    }
  }

  /** Whether the turn has ended; if not, the saga goes on from what is recorded now. */
  async function runTurn(
    held: Held,
    failed: Map<string, unknown>,
    control: TaskControl | undefined,
  ): Promise<boolean> {
    const { task, saga } = held;
    const where = whereOf(saga);
    const rows = held.rev === 0 ? [] : await database.query<HistoryRow>(readHistory(saga.id));
    const history = new History(where, rows);
    if (task.attempt >= task.maxAttempts) {
      const message = `its turn was begun ${task.attempt} times and never ended: the process died, or could not write`;
      await stick(held, history, { message });
      return true;
    }
    if (saga.undoing) {
      const undone = await compensate({
        database,
        held,
        history,
        backoff,
        random,
        commandOf: options.commandOf,
        async call(operation, input, key, record) {
          const command = options.commandOf(operation);
          if (command !== undefined) return call(held, control, { command, input, key }, record);
          throw new PlimsollError('PL_UNKNOWN_OPERATION', `${where}: no module of this app has ${operation}`);
        },
      });
      if (undone.kind === 'stuck') await stick(held, history, undone.trouble);
      else {
        const rows = history.takePending();
        const last = rows.at(-1)?.error;
        await endTurn(
          database,
          held,
          undone.kind === 'compensated'
            ? { rows, state: 'compensated' }
            : { rows, state: 'compensating', nextMs: undone.wakeMs, trouble: last ?? null },
        );
        if (undone.kind === 'compensated') tell(saga, 'compensated');
      }
      return true;
    }
    const { ending } = saga;
    if (ending !== null && (ending.assumeUndone || history.unsettled().length === 0)) {
      await goBack(held, history, { error: 'Cancelled', data: ending });
      return false;
    }
    return goOn(runCode({ held, history, failed, control }));
  }

  async function goOn({ held, history, outcome }: Running): Promise<boolean> {
    return settle(held, history, await outcome);
  }

  async function beginHere(asked: NewSaga, task: NewTask): Promise<BegunHere | undefined> {
    const nowMs = clock.monotonicMs();
    if (nowMs - databaseClock.readMs > clockMs) return undefined;
    const place = options.reserve?.(task.name);
    if (place === undefined) return undefined;
    const saga: NewSaga = { ...asked, rev: 1 };
    const claimed = claimedBy(task, place.worker);
    const held = heldNew(saga, claimed, databaseClock.atMs + nowMs - databaseClock.readMs);
    const history = new History(whereOf(held.saga), []);
    const { promise, resolve } = Promise.withResolvers<void>();
    // Not in the context of who starts it, whose time ends.
    const running = runInContext(createContext(), runCode, {
      held,
      history,
      failed: new Map<string, unknown>(),
      control: undefined,
      begun: promise,
    });
    // The worker looks at it; without one, nobody does.
    running.outcome.catch(() => undefined);
    await hasAsked();
    return {
      saga,
      task: { ...task, worker: place.worker },
      // What is more than a row, the first write of the turn adds.
      rows: history.pendingAreAll('step', 'value') ? history.takePending() : [],
      committed(isNew) {
        if (isNew) begun.set(task.id, running);
        place.begin(claimed);
        // Otherwise nothing that it has asked for is its own.
        if (isNew) resolve();
      },
      rolledBack: place.rolledBack,
      unknown: () => place.unknown(claimed),
    };
  }

  async function settle(held: Held, history: History, outcome: Outcome): Promise<boolean> {
    switch (outcome.kind) {
      case 'done': {
        if (!held.ended) await endTurn(database, held, doneRest(history, outcome.value));
        tell(held.saga, 'done');
        return true;
      }
      case 'failed':
        await goBack(held, history, { error: outcome.error, data: outcome.data });
        return false;
      case 'ending':
        await goBack(held, history, { error: 'Cancelled', data: held.saga.ending });
        return false;
      case 'waits': {
        const trouble = history.unsettled()[0]?.known.lastError ?? null;
        const rows = history.takePending();
        await endTurn(database, held, { rows, state: 'waiting', nextMs: outcome.wakeMs, trouble });
        return true;
      }
      case 'stuck':
        await stick(held, history, outcome.trouble);
        return true;
    }
  }

  async function goBack(held: Held, history: History, error: NonNullable<SagaRow['error']>): Promise<void> {
    await turnBack(database, held, history.takePending(), error);
    tell(held.saga, 'compensating', error.error);
  }

  /** Somebody has to look at it: it is told aloud, and goes on only by hand. */
  async function stick(held: Held, history: History, trouble: Trouble): Promise<void> {
    const { saga } = held;
    const rows = [...history.takePending(), { kind: 'stuck' as const, error: trouble }];
    await endTurn(database, held, { rows, state: 'stuck', trouble });
    const what = `saga ${saga.id} is stuck`;
    const error = new PlimsollError(
      'PL_SAGA_STUCK',
      `${what}${saga.undoing ? ' on the way back' : ''}: ${trouble.message}; see plimsoll sagas show ${saga.id}, then retry, resume or compensate it`,
      { data: { id: saga.id, version: saga.version, code: trouble.code ?? null } },
    );
    background.publish({ scope, what, error });
    tell(saga, 'stuck', error);
  }

  function runCode(given: {
    readonly held: Held;
    readonly history: History;
    readonly failed: Map<string, unknown>;
    readonly control: TaskControl | undefined;
    readonly begun?: Promise<void>;
  }): Running {
    const { held, history } = given;
    const { task, saga } = held;
    const where = whereOf(saga);
    const children: NewSaga[] = [];
    const added = (): Additions => ({ rows: history.takePending(), children: children.splice(0) });
    const commit = (): Promise<void> => save(database, held, added());
    const turn = new Turn({
      id: saga.id,
      where,
      history,
      ending: saga.ending !== null,
      atMs: saga.atMs,
      clock,
      random,
      backoff,
      stallMs,
      failed: given.failed,
      begun: given.begun,
      call: (step, record) => call(held, running.control, step, record),
      payloadOf: options.payloadOf,
      nameOf: (child) => nameOf(saga, child),
      startChild(at, child, input) {
        const made = childOf(saga, at, child, input);
        history.add({ kind: 'began', op: 'child', ...at });
        children.push(made);
      },
      save: commit,
      async saveIn(tx, outcome) {
        if (outcome?.kind !== 'done' || children.length > 0 || !endsAlone(saga, 'done'))
          return saveIn(tx, held, added());
        await endAlone(tx, held, doneRest(history, outcome.value));
        held.ended = true;
      },
      saveRowIn: (tx, row) => saveIn(tx, held, { rows: [row] }),
    });

    async function run(): Promise<Outcome> {
      const hosted = options.sagas.get(saga.name)?.saga.versions.get(saga.version);
      if (hosted === undefined)
        throw new PlimsollError(
          'PL_UNKNOWN_OPERATION',
          `${where} has steps whose outcome only its code can tell, and this process does not have it`,
        );
      const outcome = await runInContext(contextOf(saga, { task, control: given.control }), () =>
        turn.run(async () => {
          // Transforms run here, each time.
          const input = await validate(
            hosted.input,
            saga.input.value,
            'PL_INPUT_INVALID',
            `input of ${where}`,
          );
          return recordable(await hosted.body(runOf(new SagaRun(turn, '')), input), `result of ${where}`);
        }),
      );
      await given.begun;
      if (children.length > 0 || (outcome.kind === 'waits' && history.awaitsEvent)) await commit();
      // The wait is committed: what came before it is found here, and what comes after it by the follower.
      if (outcome.kind === 'waits' && history.awaitsEvent) await arriveFromLog(database, saga.id);
      return outcome;
    }

    const running: Running = { held, history, control: given.control, outcome: run() };
    return running;
  }

  function nameOf(parent: SagaRow, child: AnySaga): string {
    const name = names.get(child);
    if (name !== undefined && options.sagas.get(name)?.module === parent.module) return name;
    throw new PlimsollError(
      'PL_UNKNOWN_OPERATION',
      `saga ${parent.id} began one that ${parent.module} does not list in its sagas; another module's is started by a command of that module`,
    );
  }

  function childOf(
    parent: SagaRow,
    { place, operation }: ChildPlace,
    child: AnySaga,
    input: unknown,
  ): NewSaga {
    const { saga } = newSaga(contextOf(parent, {}), {
      name: operation,
      module: parent.module,
      saga: child,
      input,
    });
    return { ...saga, id: childId(operation, parent.id, place), parent: parent.id, parentPlace: place };
  }

  function call(
    { task, saga }: Held,
    control: TaskControl | undefined,
    { command, input, key: place }: Pick<StepCall, 'command' | 'input' | 'key'>,
    record: RecordStep,
  ): Promise<unknown> {
    return runInContext(contextOf(saga, { task, control, place }), () =>
      options.call(saga.module, command, input, record),
    );
  }

  /** That of the request that began the saga; the key is that of the step, however often it is called. */
  function contextOf(
    { id, correlationId, caller }: SagaRow,
    { task, control, place }: Within,
  ): RequestContext {
    return createContext({
      correlationId,
      causationId: `saga:${id}${place === undefined ? '' : `#${place}`}`,
      key: `saga:${id}${place === undefined ? '' : `/${place}`}`,
      caller,
      seen: () => database.seenUntilNow(),
      cancellation: control?.cancellation,
      ...(task === undefined ? {} : { span: taskSpan(task) }),
    });
  }

  function tell(saga: SagaRow, state: SagaMessage['state'], error?: unknown): void {
    if (!sagaChannel.hasSubscribers) return;
    const { name, id, version, correlationId, createdMs, atMs } = saga;
    sagaChannel.publish({ scope, name, id, version, state, correlationId, ageMs: atMs - createdMs, error });
  }
}
