import { insertInvalidation, type RecordedInvalidation } from '../cache/invalidation-rows.ts';
import { prepared, sql, type Sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import {
  completeTask,
  holdOrders,
  insertTasks,
  insertUnique,
  taskLost,
  type ClaimedTask,
  type NewTask,
  type OnDuplicate,
} from '../durable/task.ts';
import { newTaskId } from '../durable/task-id.ts';
import { keepResult } from '../durable/settle.ts';
import type { RequestContext } from '../kernel/context.ts';
import { isPlimsollError, throwIfProblems } from '../kernel/errors.ts';
import { KeyTaken } from '../idempotency/keyed-work.ts';
import { newJob } from '../jobs/job.ts';
import { insertEvents, insertInbox, type NewEvent, type RecordedEvent } from '../outbox/events.ts';
import { eventOver } from '../outbox/new-event.ts';
import type { BeginHere, BegunHere } from '../saga/begin-here.ts';
import { newSaga, type SagaRequest, type StartedSaga } from '../saga/new-saga.ts';
import { insertRows, insertSagas } from '../saga/statements.ts';
import type { AnyCommand, AnyEvent } from './contract.ts';
import type { Wire } from '../kernel/json-copy.ts';
import type { EnqueueOptions } from './module.ts';
import { validateNow } from '../kernel/validate.ts';

/** The task a handler runs for, so that effect and completion commit together. */
export interface Completion {
  readonly task: ClaimedTask;
  /** Ends a task whose handler wrote nothing; see `TaskControl`. */
  readonly complete?: (() => Promise<boolean>) | undefined;
  /** Set for a delivery. */
  readonly inbox?: { readonly subscription: string; readonly event: RecordedEvent };
}

/** The event has already had its effect on this subscription: roll back and only end the task. */
export class AlreadyApplied extends Error {
  override readonly name = 'AlreadyApplied';
}

/** What is written with what a handler has buffered. */
export interface Endings {
  /** The task that ends. */
  readonly completion: Completion | undefined;
  /** Outside effects that have ended. */
  readonly external: Sql | undefined;
  /** The answer, under its key: one row when it is recorded. */
  readonly answer: Sql | undefined;
}

/** Who has something to do after a commit. */
export interface Pending {
  readonly relay: boolean;
  readonly worker: boolean;
}

/** What a handler has buffered; written in one statement just before COMMIT. */
export class Outgoing {
  readonly #context: RequestContext;
  readonly #wire: Wire;
  readonly #events: NewEvent[] = [];
  readonly #tasks: NewTask[] = [];
  /** By name and unique key. */
  readonly #unique = new Map<string, { readonly task: NewTask; readonly onDuplicate: OnDuplicate }>();
  readonly #sagas: StartedSaga[] = [];
  readonly #beginHere: BeginHere | undefined;
  /** Sagas that have begun here, and go on when this is committed. */
  #begun: readonly BegunHere[] = [];
  /** Ids of the sagas that were new. */
  #new: ReadonlySet<string> = new Set();
  readonly #tags = new Set<string>();
  readonly #cache: string | undefined;
  #invalidation: RecordedInvalidation | undefined;
  /** What the handler gave; kept where its task is one whose result somebody wants. */
  result: unknown;

  /**
   * `wire` is what happens to a value on its way: what could not be delivered is refused here, not there. `cache` is
   * whose rows the invalidations are; without one there is nothing to invalidate.
   */
  constructor(
    context: RequestContext,
    wire: Wire,
    cache: string | undefined,
    beginHere: BeginHere | undefined,
  ) {
    this.#context = context;
    this.#wire = wire;
    this.#cache = cache;
    this.#beginHere = beginHere;
  }

  emit(event: AnyEvent, payload: unknown): void {
    this.#events.push(eventOver(this.#wire, this.#context, event, payload));
  }

  enqueue(operation: AnyCommand, input: unknown, options: EnqueueOptions | undefined): string {
    const what = `input of job ${operation.id}`;
    validateNow(operation.input, this.#wire(input, what), 'PL_PAYLOAD_INVALID', what);
    const id = newTaskId();
    const task = newJob(this.#context, { ...operation.job, ...options, id, name: operation.id, input });
    if (task.uniqueKey === undefined) this.#tasks.push(task);
    else this.#enqueueUnique(task, options?.unique?.onDuplicate ?? 'keep');
    return id;
  }

  /** One statement cannot write a row twice: of those of one key in one handler, the last word holds. */
  #enqueueUnique(task: NewTask, onDuplicate: OnDuplicate): void {
    const place = `${task.name}\0${task.uniqueKey}`;
    const before = this.#unique.get(place);
    if (before === undefined) this.#unique.set(place, { task, onDuplicate });
    else if (onDuplicate !== 'keep') {
      const { payload } = task;
      const at = onDuplicate === 'debounce' ? task : before.task;
      this.#unique.set(place, {
        task: { ...before.task, payload, delayMs: at.delayMs, runAt: at.runAt },
        onDuplicate: before.onDuplicate === 'debounce' ? 'debounce' : onDuplicate,
      });
    }
  }

  start(request: SagaRequest): string {
    const started = newSaga(this.#context, request);
    this.#sagas.push(started);
    return started.saga.id;
  }

  invalidate(tags: readonly string[]): void {
    const wrong = tags.filter((tag) => typeof tag !== 'string' || tag === '');
    throwIfProblems(
      'invalidate',
      wrong.map((tag) => ({
        path: 'tag',
        message: `is ${JSON.stringify(tag)}; give a text such as "stock:7"`,
      })),
    );
    for (const tag of tags) this.#tags.add(tag);
  }

  get tags(): readonly string[] {
    return [...this.#tags];
  }

  /** What was written of the tags; undefined before, and when there were none. */
  get invalidation(): RecordedInvalidation | undefined {
    return this.#invalidation;
  }

  /** Who has something to do after the commit. */
  get pending(): Pending {
    return {
      relay: this.#events.length > 0,
      worker: this.#tasks.length > 0 || this.#unique.size > 0 || this.#sagas.length > this.#begun.length,
    };
  }

  /** What has begun here goes on. */
  committed(): void {
    for (const { saga, committed } of this.#begun) committed(this.#new.has(saga.id));
  }

  failed(error: unknown): void {
    const isUnknown = isPlimsollError(error, 'PL_COMMIT_UNKNOWN');
    for (const { unknown, rolledBack } of this.#begun) (isUnknown ? unknown : rolledBack)();
  }

  /** Sagas and their tasks, as they are to be written. */
  async #startSagas(): Promise<readonly StartedSaga[]> {
    const starting: StartedSaga[] = [];
    for (const started of this.#sagas) {
      const begun = await this.#beginHere?.(started.saga, started.task);
      if (begun !== undefined) this.#begun = [...this.#begun, begun];
      starting.push(begun ?? started);
    }
    return starting;
  }

  /** One that ends a task of an order key and writes others must not wait for one that does the reverse. */
  async #holdOrders(tx: Transaction, completion: Completion | undefined): Promise<void> {
    if (completion === undefined) return;
    const { name, orderKey } = completion.task;
    if (orderKey === null) return;
    const written = [...this.#tasks, ...[...this.#unique.values()].map(({ task }) => task)].flatMap((task) =>
      task.orderKey === undefined ? [] : [{ name: task.name, orderKey: task.orderKey }],
    );
    if (written.length === 0) return;
    await tx.query(holdOrders([{ name, orderKey }, ...written]));
  }

  /** Throws PL_TASK_LOST, {@link AlreadyApplied} or {@link KeyTaken} when the effects must not be committed. */
  async flush(tx: Transaction, { completion, external, answer }: Endings): Promise<void> {
    await this.#holdOrders(tx, completion);
    const starting = await this.#startSagas();
    const tasks = [...this.#tasks, ...starting.map(({ task }) => task)];
    const parts: Sql[] = [];
    if (external !== undefined) parts.push(sql`recorded as (${external})`);
    if (completion !== undefined) {
      parts.push(sql`ended as (${completeTask(completion.task)})`);
      if (completion.task.keepResult) parts.push(sql`kept as (${keepResult(completion.task, this.result)})`);
      if (completion.inbox !== undefined)
        parts.push(sql`noted as (${insertInbox(completion.inbox.subscription, completion.inbox.event)})`);
    }
    if (answer !== undefined) parts.push(sql`answered as (${answer})`);
    if (this.#events.length > 0) parts.push(sql`emitted as (${insertEvents(this.#events)})`);
    if (tasks.length > 0) parts.push(sql`enqueued as (${insertTasks(tasks)})`);
    for (const [index, { task, onDuplicate }] of [...this.#unique.values()].entries())
      parts.push(sql`${sql.id(`unique_${index}`)} as (${insertUnique(task, onDuplicate)})`);
    if (starting.length > 0) parts.push(sql`started as (${insertSagas(starting.map(({ saga }) => saga))})`);
    for (const [index, { saga, rows }] of this.#begun.entries()) {
      if (rows.length === 0) continue;
      const isNew = sql`(select 1 from started where id = ${saga.id}) is_new`;
      parts.push(sql`${sql.id(`begun_${index}`)} as (${insertRows(saga.id, rows, isNew)})`);
    }
    const [cache, { tags }] = [this.#cache, this];
    const invalidates = cache !== undefined && tags.length > 0;
    if (invalidates) parts.push(sql`invalidated as (${insertInvalidation(cache, { tags })})`);
    if (parts.length === 0) return;
    if (parts.length === 1 && completion !== undefined && !tx.begun && completion.complete !== undefined) {
      // The handler wrote nothing: its task ends with those of others, and no transaction is needed.
      if (await completion.complete()) return;
      throw taskLost(completion.task);
    }

    const started = starting.length === 0 ? sql`null::text[]` : sql`(select array_agg(id) from started)`;
    const invalidated = invalidates ? sql`(select id from invalidated)` : sql`null::text`;
    const ended = completion === undefined ? sql`1` : sql`(select count(*)::int from ended)`;
    const noted = completion?.inbox === undefined ? sql`1` : sql`(select count(*)::int from noted)`;
    const answered = answer === undefined ? sql`1` : sql`(select count(*)::int from answered)`;
    const statement = sql`
      with ${sql.join(parts)}
      select ${ended} as ended, ${noted} as noted, ${answered} as answered, ${started} as started,
        ${invalidated} as invalidated`;
    // Each number of these is a text of its own.
    const isOneOfFew = this.#unique.size <= 1 && this.#begun.length <= 1;
    const row = await tx.one<{
      ended: number;
      noted: number;
      answered: number;
      started: readonly string[] | null;
      invalidated: string | null;
    }>(isOneOfFew ? prepared(statement) : statement);
    if (completion !== undefined && row.ended !== 1) {
      throw taskLost(completion.task);
    }
    if (row.noted !== 1) throw new AlreadyApplied();
    if (row.answered !== 1) throw new KeyTaken();
    this.#new = new Set(row.started);
    if (row.invalidated !== null && cache !== undefined)
      this.#invalidation = { id: row.invalidated, cache, tags, keys: [] };
  }
}
