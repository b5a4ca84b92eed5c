import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { quoteIdentifier, redacted, urlOfDatabase, withClient } from './client.ts';
import { EmbeddedError, codeOf, messageOf } from './errors.ts';
import { until } from './until.ts';

export interface TestDatabaseOptions {
  readonly primaryUrl: string;
  readonly replicaUrls?: readonly string[];
  /** Cloned whole; nobody may be connected to it. Default `template1`: empty, with `pg_stat_statements`. */
  readonly template?: string;
  /** Default: a unique one. */
  readonly name?: string;
  /** For the whole call, replicas included; default 20 000. */
  readonly timeoutMs?: number;
}

export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  readonly replicaUrls: string[];
  /** Disconnects whoever is left and drops it; safe to call twice. */
  drop(): Promise<void>;
}

const inUse = '55006';
/** So long those who are leaving are waited for. */
const leaveMs = 250;

async function createFrom(
  primaryUrl: string,
  name: string,
  template: string,
  timeoutMs: number,
): Promise<void> {
  let refusal = '';
  await withClient(
    primaryUrl,
    (connection) =>
      until(
        async () => {
          try {
            await connection.rows(
              `create database ${quoteIdentifier(name)} template ${quoteIdentifier(template)}`,
            );
            return true;
          } catch (error) {
            if (codeOf(error) !== inUse) throw error;
            refusal = messageOf(error);
            return false;
          }
        },
        {
          timeoutMs,
          late: () => new Error(`${refusal}; close every connection to the template before it is cloned`),
        },
      ),
    { timeoutMs },
  );
}

/** A replica learns of the database when it replays its creation. */
async function waitForReplica(url: string, name: string, timeoutMs: number): Promise<void> {
  let last = 'it does not know the database yet; is its replay paused or delayed?';
  await until(
    async () => {
      try {
        return await withClient(urlOfDatabase(url, name), (connection) => connection.rows('select 1'), {
          timeoutMs,
        });
      } catch (error) {
        // 3D000: not replayed yet. Everything else may pass too: the server may be restarting.
        if (codeOf(error) !== '3D000') last = messageOf(error);
        return undefined;
      }
    },
    {
      timeoutMs,
      everyMs: 10,
      late: () =>
        new EmbeddedError(
          'PL_EMBEDDED_TIMEOUT',
          `The replica at ${redacted(url)} could not be connected to database ${name} within ${timeoutMs} ms: ${last}`,
        ),
    },
  );
}

/**
 * A database of its own for each test file, cloned in a fraction of a second. Needs nothing but URLs, so it works
 * in any process and with any servers.
 */
export async function createTestDatabase(options: TestDatabaseOptions): Promise<TestDatabase> {
  const { primaryUrl, replicaUrls = [], template = 'template1', timeoutMs = 20_000 } = options;
  const name = options.name ?? `test_${process.pid}_${randomBytes(6).toString('hex')}`;
  const deadline = performance.now() + timeoutMs;
  const drop = async (): Promise<void> => {
    await withClient(
      primaryUrl,
      async (connection) => {
        // The `end()` of a pool resolves before its connections are closed. One that is cut while it closes is an error
        // that nobody listens to any more, and ends the process.
        for (const untilMs = performance.now() + leaveMs; performance.now() < untilMs; await delay(10)) {
          const [row] = await connection.rows<{ here: boolean }>(
            'select exists (select 1 from pg_stat_activity where datname = $1) as here',
            [name],
          );
          if (row?.here !== true) break;
        }
        await connection.rows(`drop database if exists ${quoteIdentifier(name)} with (force)`);
      },
      { timeoutMs: 30_000 },
    );
  };
  try {
    await createFrom(primaryUrl, name, template, timeoutMs);
  } catch (cause) {
    throw new EmbeddedError(
      'PL_EMBEDDED_DATABASE',
      `Database ${name} could not be made from template ${template} at ${redacted(primaryUrl)}: ${messageOf(cause)}.`,
      { cause },
    );
  }
  try {
    await Promise.all(
      replicaUrls.map((url) => waitForReplica(url, name, Math.max(1, deadline - performance.now()))),
    );
  } catch (error) {
    await drop().catch(() => undefined);
    throw error;
  }
  return {
    name,
    url: urlOfDatabase(primaryUrl, name),
    replicaUrls: replicaUrls.map((url) => urlOfDatabase(url, name)),
    drop,
  };
}
