import { startCluster } from '../packages/embedded/src/index.ts';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Servers for `*.pg.test.ts`: `createTestDatabase(inject('cluster'))` gives each file a database of its own. */
    cluster: { readonly primaryUrl: string; readonly replicaUrls: string[] };
  }
}

/** Starts one primary with one replica for all files, or uses the servers named in the environment. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['DATABASE_URL'];
  if (given !== undefined && given !== '') {
    const replicas = (process.env['DATABASE_REPLICA_URLS'] ?? '').split(',');
    const replicaUrls = replicas.map((url) => url.trim()).filter((url) => url !== '');
    project.provide('cluster', { primaryUrl: given, replicaUrls });
    return () => Promise.resolve();
  }
  const cluster = await startCluster({ log: (line) => process.stderr.write(`postgres: ${line}\n`) });
  project.provide('cluster', {
    primaryUrl: cluster.primary.url,
    replicaUrls: cluster.replicas.map((replica) => replica.url),
  });
  return () => cluster.stop();
}
