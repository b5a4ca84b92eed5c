import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ClusterOptions } from '../src/options.ts';
import type { ServerUser } from '../src/server-user.ts';
import { until } from '../src/until.ts';

export interface StartedCluster {
  readonly directory: string;
  readonly fresh: boolean;
  readonly servers: readonly { name: string; pid: number; port: number; url: string }[];
}

export interface ClusterProcess {
  readonly child: ChildProcess;
  /** What it said on its error output: the lines of `log`, and a stack when it died. */
  said(): string;
  started(): Promise<StartedCluster>;
  /** As an out-of-memory killer would. */
  kill(): Promise<void>;
  /** Asks it to stop its cluster, and answers its exit code. */
  stop(): Promise<number | null>;
}

const program = fileURLToPath(new URL('./cluster-program.ts', import.meta.url));

export interface ProcessOptions {
  readonly cluster?: Omit<ClusterOptions, 'log'>;
  readonly user?: ServerUser;
  readonly environment?: Record<string, string>;
  /** Another entry than `src/index.ts`. */
  readonly source?: string;
  readonly program?: string;
  /** Default: the Node that runs this. */
  readonly node?: string;
}

/** A program of its own that starts a cluster. */
export function clusterProcess(options: ProcessOptions = {}): ClusterProcess {
  const args = [
    options.program ?? program,
    options.source ?? '../src/index.ts',
    JSON.stringify(options.cluster ?? {}),
  ];
  const child = spawn(options.node ?? process.execPath, args, {
    ...options.user,
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '', ...options.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString('utf8')));
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'exit');
  return {
    child,
    said: () => errors,
    started: async () => {
      const line = await until(
        () => output.split('\n').find((text) => text.startsWith('{')) ?? (child.exitCode !== null && '{}'),
        {
          timeoutMs: 30_000,
          late: () => new Error(`no cluster after 30 s: ${errors}`),
        },
      );
      if (line === '{}') throw new Error(`the program ended with code ${child.exitCode}: ${errors}`);
      return JSON.parse(line) as StartedCluster;
    },
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    stop: async () => {
      child.stdin.end();
      await ended;
      return child.exitCode;
    },
  };
}
