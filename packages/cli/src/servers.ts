import { resolve } from 'node:path';
import type { Plan } from 'plimsoll';

/** The database servers that a command works on. */
export interface Servers extends AsyncDisposable {
  readonly url: string;
  readonly replicaUrls: readonly string[];
  /** For the person: `embedded PostgreSQL in .plimsoll/data, 1 replica`. */
  readonly description: string;
}

/** The plan's servers, else DATABASE_URL and DATABASE_REPLICA_URLS, else the embedded PostgreSQL in `.plimsoll/data`. */
export async function openServers(plan: Plan, log: (line: string) => void): Promise<Servers> {
  const {
    url = process.env['DATABASE_URL'],
    replicaUrls = splitUrls(process.env['DATABASE_REPLICA_URLS']),
    embeddedReplicas = 0,
  } = plan.database ?? {};
  if (url !== undefined && url !== '') {
    return {
      url,
      replicaUrls,
      description: `your PostgreSQL, ${count(replicaUrls.length)}`,
      async [Symbol.asyncDispose]() {},
    };
  }
  const { startCluster } = await import('@plimsoll/embedded');
  const dataDir = resolve('.plimsoll/data');
  const cluster = await startCluster({ replicas: embeddedReplicas, dataDir, log });
  return {
    url: cluster.primary.url,
    replicaUrls: cluster.replicas.map((replica) => replica.url),
    description: `embedded PostgreSQL in ${dataDir}, ${count(embeddedReplicas)}`,
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}

/** The same for a command that looks or decides beside an app: where that has the embedded PostgreSQL, its servers. */
export async function joinServers(plan: Plan, log: (line: string) => void): Promise<Servers> {
  const { url = process.env['DATABASE_URL'] } = plan.database ?? {};
  if (url !== undefined && url !== '') return openServers(plan, log);
  const { runningCluster } = await import('@plimsoll/embedded');
  const dataDir = resolve('.plimsoll/data');
  const running = runningCluster(dataDir);
  if (running === undefined) return openServers(plan, log);
  return {
    ...running,
    description: `embedded PostgreSQL in ${dataDir} of another process, ${count(running.replicaUrls.length)}`,
    async [Symbol.asyncDispose]() {},
  };
}

function splitUrls(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '');
}

function count(replicas: number): string {
  return replicas === 1 ? '1 replica' : `${replicas} replicas`;
}
