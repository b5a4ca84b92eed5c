import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepareBinaries } from './binaries.ts';
import { withClient, urlOfDatabase } from './client.ts';
import { EmbeddedError } from './errors.ts';
import { startGuardian, type Guardian } from './guardian.ts';
import { initialisePrimary, readPassword } from './initialise.ts';
import { acquireLock } from './lock.ts';
import { checkOptions, type ClusterOptions } from './options.ts';
import { choosePlace, clusterMark, type Place } from './places.ts';
import { locateNative } from './platform.ts';
import { requirePort } from './ports.ts';
import { removeCluster, removeData } from './remove-cluster.ts';
import type { EmbeddedReplica, Replica } from './replica.ts';
import { EmbeddedServer, type ClusterContext, type Server } from './server.ts';
import { serverUser } from './server-user.ts';
import { stopAllUnder } from './shutdown.ts';
import { launchPrimary, startReplicas } from './start-servers.ts';
import { readState, writeState } from './state.ts';
import { sweepAbandoned } from './sweep.ts';
import { allSettled } from './until.ts';
import { createTestDatabase, type TestDatabase } from './test-database.ts';

export interface Cluster extends AsyncDisposable {
  readonly primary: Server;
  readonly replicas: readonly Replica[];
  /** The data was created by this start. */
  readonly fresh: boolean;
  /** Where the data is. */
  readonly directory: string;
  /** Waits for the standbys that are up; `replicaUrls` follows the order of `replicas`, promoted ones left out. */
  createDatabase(options?: { readonly template?: string; readonly name?: string }): Promise<TestDatabase>;
  /** Ends every process and removes a temporary directory; safe to call twice or while another call is under way. */
  stop(): Promise<void>;
}

/** Starts a primary and its replicas; when the promise resolves, all of them take connections and stream. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  checkOptions(options);
  const log = options.log ?? ((): void => undefined);
  const user = serverUser();
  const native = locateNative();
  await sweepAbandoned(user, log);
  const binaries = await prepareBinaries(native, user, log);
  const place = choosePlace(options.dataDir, user, log);
  writeFileSync(join(place.path, clusterMark), 'A PostgreSQL cluster of @plimsoll/embedded, format 1.\n', {
    mode: 0o600,
  });

  const lock = await acquireLock(place.path);
  let guardian: Guardian | undefined;
  let stopped = false;
  const close = async (settled: () => Promise<unknown>): Promise<void> => {
    stopped = true;
    const mode = place.temporary ? 'immediate' : 'fast';
    await stopAllUnder(place.path, mode);
    // What was under way fails now that its server is gone; nothing starts a server any more.
    await settled();
    await stopAllUnder(place.path, mode);
    // In this order: while the guardian lives it stops whatever it finds, so the lock is the last to go.
    await guardian?.release();
    if (place.temporary) await removeCluster(place.path);
    lock.release();
  };
  try {
    guardian = startGuardian(place);
    lock.addGuardian(guardian.identity);
    if ((await stopAllUnder(place.path, 'fast')) > 0)
      log(`stopped PostgreSQL servers in ${place.path} that an earlier run had left`);
    if (options.fresh === true) await removeData(place.path);
    if (options.port !== undefined) await requirePort(options.port);
    const pristine = await initialisePrimary({
      directory: place.path,
      binaries,
      user,
      durable: !place.temporary,
      log,
    });
    const context: ClusterContext = {
      directory: place.path,
      binaries,
      user,
      settings: options.settings ?? {},
      password: readPassword(place.path, false),
      log,
      isStopped: () => stopped,
    };
    const before = readState(place.path);
    await guardian.ready;
    lock.confirm();

    const primary = new EmbeddedServer(context, 'primary');
    const started = { context, primary, pristine, ports: before?.ports ?? {}, log };
    const replicas = await startReplicas(started, options.replicas ?? 1, async () => {
      await launchPrimary(started, options.port);
      if (pristine || before === undefined) await createExtensions(primary.url);
    });
    const ports = Object.fromEntries([primary, ...replicas].map((server) => [server.name, server.port]));
    writeState(place.path, { ports: { ...before?.ports, ...ports } });
    return clusterOf({ place, primary, replicas, fresh: pristine, isStopped: () => stopped, close });
  } catch (error) {
    await close(() => Promise.resolve());
    throw error;
  }
}

async function createExtensions(url: string): Promise<void> {
  const create = (database: string): Promise<unknown> =>
    withClient(urlOfDatabase(url, database), (connection) =>
      connection.rows('create extension if not exists pg_stat_statements'),
    );
  await allSettled(['template1', 'postgres'].map(create));
}

interface Parts {
  readonly place: Place;
  readonly primary: EmbeddedServer;
  readonly replicas: readonly EmbeddedReplica[];
  readonly fresh: boolean;
  readonly isStopped: () => boolean;
  readonly close: (settled: () => Promise<unknown>) => Promise<void>;
}

function clusterOf(parts: Parts): Cluster {
  const { place, primary, replicas, fresh, isStopped, close } = parts;
  let ending: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    ending ??= close(() => Promise.all([primary, ...replicas].map((server) => server.settled())));
    return ending;
  };
  return {
    primary,
    replicas,
    fresh,
    directory: place.path,
    createDatabase: async (options = {}) => {
      if (isStopped())
        throw new EmbeddedError(
          'PL_EMBEDDED_STOPPED',
          'createDatabase(): the cluster was stopped; start another one.',
        );
      primary.requireRunning('createDatabase');
      const standbys = replicas.filter((replica) => replica.running && replica.role === 'standby');
      return createTestDatabase({
        ...options,
        primaryUrl: primary.url,
        replicaUrls: standbys.map((replica) => replica.url),
      });
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
