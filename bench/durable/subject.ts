import type pg from 'pg';

/** What a job does: nothing, or one row whose insertion and the end of the job are one, where the subject can. */
export type Work = 'nothing' | 'one write';

export type OnStart = (n: number) => void | Promise<void>;

/** A queue of one subject, opened on an empty database. */
export interface OpenQueue {
  add(n: number): Promise<unknown>;
  addMany(numbers: readonly number[]): Promise<unknown>;
  /** In a transaction that is open on this connection. Undefined where that is not possible. */
  readonly addIn?: (client: pg.ClientBase, n: number) => Promise<unknown>;
  /** Runs jobs until the answered function is called; each awaits what `onStart` answers when it is told. */
  work(work: Work, onStart: OnStart): Promise<() => Promise<void>>;
  /** Jobs that are not settled yet. */
  left(): Promise<number>;
  close(): Promise<void>;
}

export interface Servers {
  readonly databaseUrl: string;
  readonly redisUrl: string;
}

export interface Subject {
  readonly name: string;
  readonly setting: string;
  /** Whether jobs are in PostgreSQL, so that their size can be told. */
  readonly onPostgres: boolean;
  /** Drains fewer jobs than the others, or it would take minutes. */
  readonly slow?: boolean;
  /** Its tables, queues and whatever else it has to make once. */
  prepare(servers: Servers): Promise<void>;
  open(servers: Servers): Promise<OpenQueue>;
}

/** The table of the jobs that write. */
export const effectTable = 'create table if not exists effect (n int not null)';
export const effectInsert = 'insert into effect (n) values ($1)';
