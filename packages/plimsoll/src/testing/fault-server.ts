import { createDatabase, type Database } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import type { Transaction } from '../database/transaction.ts';
import { PlimsollError } from '../kernel/errors.ts';

/** Makes things go wrong on the database server itself, from connections that the app does not know of. */
export interface FaultServer {
  open(): Promise<void>;
  close(): Promise<void>;
  /** Ends the transaction's connection as an administrator would; resolves when its process has ended. */
  endConnection(tx: Transaction): Promise<void>;
  /** Fails a statement of the transaction with SQLSTATE 40001; rejects with what the transaction is told. */
  failSerialization(tx: Transaction): Promise<never>;
  /** Takes a running task from its worker, as if that one had died. */
  takeOver(taskId: string): Promise<void>;
}

export function createFaultServer(url: string): FaultServer {
  // Between open and close. Of its own: in the app's pool a handler would hold one connection and wait for another.
  let database: Database | undefined;

  function need(): Database {
    if (database === undefined) throw new PlimsollError('PL_LIFECYCLE', 'the tested module is not running');
    return database;
  }

  return {
    async open() {
      database = createDatabase({ url, applicationName: 'plimsoll-faults', pool: { max: 2 } });
      // Only a function can choose its SQLSTATE. The role of any module may call it.
      await database.transaction(async (tx) => {
        await tx.execute(sql`create schema if not exists plimsoll_faults`);
        await tx.execute(sql`grant usage on schema plimsoll_faults to public`);
        await tx.execute(sql`
          create or replace function plimsoll_faults.fail_serialization() returns void language plpgsql as
          $$ begin raise 'could not serialize access (a fault of the test)' using errcode = '40001'; end $$`);
      });
    },
    async close() {
      await database?.close();
      database = undefined;
    },
    async endConnection(tx) {
      const { pid } = await tx.one<{ pid: number }>(sql`select pg_backend_pid() as pid`);
      await need().query(sql`select pg_terminate_backend(${pid}, 5000)`);
    },
    async failSerialization(tx) {
      await tx.query(sql`select plimsoll_faults.fail_serialization()`);
      throw new Error('plimsoll_faults.fail_serialization did not fail');
    },
    async takeOver(taskId) {
      await need().execute(sql`
        update plimsoll.task set state = 'ready', worker = null, run_at = now()
        where id = ${taskId} and state = 'running'`);
    },
  };
}
