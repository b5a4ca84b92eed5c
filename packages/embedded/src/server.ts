import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { EmbeddedError } from './errors.ts';
import { writeWhole } from './files.ts';
import { Postmaster } from './postmaster.ts';
import type { ServerUser } from './server-user.ts';
import { hostBasedAuthentication, renderConfiguration, type Following } from './settings.ts';
import { createQueue } from './until.ts';

export interface Server {
  readonly name: string;
  /** `postgres://user:password@127.0.0.1:port/postgres`; the same until the cluster stops. */
  readonly url: string;
  readonly port: number;
  /** Of the postmaster; of the last one when the server is down. */
  readonly pid: number;
  readonly running: boolean;
  /** SIGKILL to the postmaster; resolves when it and its children are gone. `restart` brings it back. */
  kill(): Promise<void>;
  /** Also starts a server that is down. `immediate` skips the checkpoint, so that it recovers as after a crash. */
  restart(mode?: 'fast' | 'immediate'): Promise<void>;
}

/** What all servers of one cluster share. */
export interface ClusterContext {
  readonly directory: string;
  readonly binaries: Binaries;
  readonly user: ServerUser | undefined;
  readonly settings: Readonly<Record<string, string>>;
  readonly password: string;
  readonly log: (line: string) => void;
  readonly isStopped: () => boolean;
}

export class EmbeddedServer implements Server {
  readonly name: string;
  readonly dataDir: string;
  protected readonly context: ClusterContext;
  protected readonly postmaster: Postmaster;
  /** Starts, stops and the like never overlap. */
  readonly #queue = createQueue();
  /** Changes only before the first successful start. */
  #port = 0;

  constructor(context: ClusterContext, name: string) {
    const { directory, binaries, user, log, isStopped } = context;
    this.name = name;
    this.context = context;
    this.dataDir = join(directory, name);
    this.postmaster = new Postmaster({
      name,
      dataDir: this.dataDir,
      logFile: join(directory, `${name}.log`),
      binaries,
      user,
      log,
      isStopped,
    });
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.postmaster.pid;
  }

  get running(): boolean {
    return this.postmaster.running;
  }

  get url(): string {
    return `postgres://postgres:${this.context.password}@127.0.0.1:${this.#port}/postgres`;
  }

  async launchOn(port: number): Promise<void> {
    this.#port = port;
    await this.launch();
  }

  kill(): Promise<void> {
    return this.exclusively('kill', () => this.postmaster.kill());
  }

  restart(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    return this.exclusively('restart', async () => {
      await this.postmaster.stop(mode);
      await this.launch();
    });
  }

  /** Resolves when everything that was asked of this server before is over. */
  settled(): Promise<void> {
    return this.#queue(() => Promise.resolve());
  }

  protected exclusively<T>(operation: string, task: () => Promise<T>): Promise<T> {
    return this.#queue(() => {
      this.requireOpen(operation);
      return task();
    });
  }

  protected requireOpen(operation: string): void {
    if (!this.context.isStopped()) return;
    throw new EmbeddedError(
      'PL_EMBEDDED_STOPPED',
      `${this.name}.${operation}(): the cluster was stopped; start another one.`,
    );
  }

  requireRunning(operation: string): void {
    this.requireOpen(operation);
    if (this.running) return;
    throw new EmbeddedError(
      'PL_EMBEDDED_STOPPED',
      `${this.name}.${operation}(): the server is down; call restart() first.`,
    );
  }

  protected following(): Following | undefined {
    return undefined;
  }

  protected configure(): void {
    const following = this.following();
    const text = renderConfiguration({
      name: this.name,
      port: this.#port,
      settings: this.context.settings,
      ...(following && { following }),
    });
    writeWhole(join(this.dataDir, 'postgresql.conf'), text, this.context.user);
    writeWhole(join(this.dataDir, 'pg_hba.conf'), hostBasedAuthentication, this.context.user);
  }

  protected async launch(): Promise<void> {
    this.configure();
    await this.postmaster.start();
  }
}
