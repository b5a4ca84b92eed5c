/**
 * A real PostgreSQL primary with real streaming replicas, from npm binaries: for development and tests.
 *
 * **Promise.** When `startCluster` resolves, the primary takes writes and every replica streams and has replayed
 * everything. Whatever ends the program, `stop`, an exception or SIGKILL, its servers are stopped and a temporary
 * data directory is removed. Nothing but the loopback address is listened on, and a random password is needed.
 *
 * **Authoritative** is the primary's data directory. A replica whose data cannot follow it is seeded anew.
 *
 * **States.** A server is running or down (`kill`, or a crash; `restart` brings it back); a replica is a standby or
 * promoted (`promote`; `reseed` makes it a standby again). A stopped cluster stays stopped.
 *
 * **Not promised.** It is no production server: no backups, no upgrades between major versions, no TLS, no
 * failover by itself. A replica paused or delayed is not caught up, and clones of databases wait for it.
 *
 * **On failure.** A start that fails leaves no process, no lock and no temporary directory, and its error carries
 * the last lines of the server's log. What an earlier, killed run has left is stopped, recovered or moved aside.
 */
export { startCluster, type Cluster } from './cluster.ts';
export { runningCluster, type RunningCluster } from './running-cluster.ts';
export type { ClusterOptions } from './options.ts';
export type { Server } from './server.ts';
export type { Replica } from './replica.ts';
export { createTestDatabase, type TestDatabase, type TestDatabaseOptions } from './test-database.ts';
export { EmbeddedError, type EmbeddedErrorCode } from './errors.ts';
export { defaultSettings, reservedSettings } from './settings.ts';
export { supportedPlatforms } from './platform.ts';
