import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { EmbeddedError, codeOf, messageOf } from './errors.ts';
import type { ProcessIdentity } from './process-entry.ts';
import { identify, isRunning } from './process-table.ts';
import { cleanEnvironment, type ServerUser } from './server-user.ts';
import { killTree, stopServer } from './shutdown.ts';
import { until } from './until.ts';

/** Recovery after a crash can take a while; a server that is still at it is not given up before this. */
const startMs = 120_000;

export interface PostmasterOptions {
  readonly name: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly binaries: Binaries;
  readonly user: ServerUser | undefined;
  readonly log: (line: string) => void;
  /** True once the whole cluster is being ended, which ends this server from outside. */
  readonly isStopped: () => boolean;
}

/** The server would not start because its port is taken. */
export function isPortTaken(error: unknown): boolean {
  return codeOf(error) === 'PL_EMBEDDED_PORT';
}

/** One postmaster over one data directory, started and ended any number of times. */
export class Postmaster {
  readonly options: PostmasterOptions;
  /** Set by each start; stays when the server ends, to tell which process it was. */
  #identity: ProcessIdentity | undefined;
  /** Where in the log file the last start begins. */
  #logStart = 0;
  /** True between a requested end and the next start: an end that nobody asked for is reported. */
  #expected = true;

  constructor(options: PostmasterOptions) {
    this.options = options;
  }

  get pid(): number {
    return this.#identity?.pid ?? 0;
  }

  get running(): boolean {
    return this.#identity !== undefined && isRunning(this.#identity);
  }

  async start(): Promise<void> {
    const { name, dataDir, logFile, binaries, user } = this.options;
    if (this.running) return;
    if (this.options.isStopped())
      throw new EmbeddedError(
        'PL_EMBEDDED_STOPPED',
        `${name} is not started: the cluster was stopped; start another one.`,
      );
    // Only a stale one can be here: the lock is ours, and postmasters of earlier runs were stopped. PostgreSQL
    // itself would refuse to start when another program has got the process id written in it.
    rmSync(join(dataDir, 'postmaster.pid'), { force: true });
    const file = openSync(logFile, 'a', 0o600);
    this.#logStart = fstatSync(file).size;
    const child = spawn(binaries.postgres, ['-D', dataDir], {
      ...user,
      detached: true,
      cwd: '/',
      env: cleanEnvironment(),
      stdio: ['ignore', file, file],
    });
    closeSync(file);
    child.unref();
    let failure: string | undefined;
    child.once('error', (error) => {
      failure = messageOf(error);
    });
    child.once('exit', (code, signal) => {
      failure = `it ended with ${signal ?? `code ${code}`}`;
      if (!this.#expected && !this.options.isStopped())
        this.options.log(
          `${name} ended unexpectedly with ${signal ?? `code ${code}`}; see its log ${logFile}`,
        );
    });
    this.#identity = child.pid === undefined ? undefined : identify(child.pid);
    this.#expected = true;
    try {
      await until(() => failure !== undefined || isReady(dataDir, child), {
        timeoutMs: startMs,
        everyMs: 5,
        late: () => this.#failed(`it was not ready within ${startMs / 1000} s`),
      });
    } catch (error) {
      await this.kill();
      throw error;
    }
    if (failure !== undefined) throw this.#failed(failure);
    this.#expected = false;
  }

  #failed(why: string): EmbeddedError {
    const log = this.logSinceStart();
    const lines = log.trim().split('\n').slice(-15).join('\n');
    const taken = /could not bind .*: (Address already in use|Permission denied)/.test(log);
    return new EmbeddedError(
      taken ? 'PL_EMBEDDED_PORT' : 'PL_EMBEDDED_START',
      `PostgreSQL (${this.options.name}, ${this.options.dataDir}) did not start: ${why}. The last lines of its log:\n${lines}`,
    );
  }

  logSinceStart(): string {
    if (!existsSync(this.options.logFile)) return '';
    const file = openSync(this.options.logFile, 'r');
    try {
      const bytes = Math.max(0, fstatSync(file).size - this.#logStart);
      const buffer = Buffer.alloc(Math.min(bytes, 256 * 1024));
      readSync(file, buffer, 0, buffer.length, this.#logStart + bytes - buffer.length);
      return buffer.toString('utf8');
    } finally {
      closeSync(file);
    }
  }

  async stop(mode: 'fast' | 'immediate'): Promise<void> {
    this.#expected = true;
    if (this.#identity !== undefined) await stopServer(this.#identity, mode);
  }

  /** SIGKILL, as a crash or the out-of-memory killer would. */
  async kill(): Promise<void> {
    this.#expected = true;
    if (this.#identity !== undefined) await killTree(this.#identity);
  }

  /** Makes it read its configuration again. */
  reload(): void {
    if (this.#identity !== undefined && this.running) process.kill(this.#identity.pid, 'SIGHUP');
  }
}

/** PostgreSQL writes its state into the eighth line of `postmaster.pid`; `pg_ctl` waits for the same word. */
function isReady(dataDir: string, child: ChildProcess): boolean {
  try {
    const lines = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n');
    return Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready';
  } catch {
    return false;
  }
}
