import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';

export interface ChildOptions {
  /** For messages. */
  readonly name: string;
  /** Module to run. */
  readonly file: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Where its output goes. Default: to ours. */
  readonly logFile?: string;
  /** How long it may take to say that it is ready. Default 60_000. */
  readonly readyMs?: number;
}

/** A child process of ours that says over IPC when it is ready, and ends when we do, even if we are killed. */
export interface Child extends AsyncDisposable {
  /** What it sent when it was ready. */
  readonly ready: unknown;
  readonly pid: number;
  /** Resolves when it has ended: with its exit code, or the name of the signal. */
  readonly ended: Promise<number | string>;
  /** SIGTERM, and SIGKILL when that does not help within `graceMs` (default 15_000). */
  stop(graceMs?: number): Promise<void>;
  kill(): Promise<void>;
}

/** The child ended, or was not ready in time; the message has its last words. */
export class ChildError extends Error {
  override readonly name = 'ChildError';
  readonly code = 'PL_CHILD';
}

/** Starts the child and waits for its first message. Rejects when it ends before, saying how. */
export async function startChild(options: ChildOptions): Promise<Child> {
  const log = options.logFile === undefined ? undefined : openSync(options.logFile, 'a');
  const logStart = options.logFile === undefined ? 0 : statSync(options.logFile).size;
  const child = fork(options.file, options.args ?? [], {
    // Own process group: Ctrl-C reaches only us, and we stop the children in order.
    detached: true,
    stdio: ['ignore', log ?? 'inherit', log ?? 'inherit', 'ipc'],
    env: { ...process.env, ...options.env },
    execArgv: ['--conditions=plimsoll:source', '--disable-warning=ExperimentalWarning'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (log !== undefined) closeSync(log);
  const ended = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 'unknown'));
    child.once('error', (error) => resolve(error.message));
  });
  const ready = await firstMessage(child, ended, options, logStart);
  const pid = child.pid ?? -1;
  const signal = async (name: NodeJS.Signals): Promise<void> => {
    child.kill(name);
    await ended;
  };
  const stop = async (graceMs = 15_000): Promise<void> => {
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    try {
      await signal('SIGTERM');
    } finally {
      clearTimeout(timer);
    }
  };
  return { ready, pid, ended, stop, kill: () => signal('SIGKILL'), [Symbol.asyncDispose]: () => stop() };
}

async function firstMessage(
  child: ChildProcess,
  ended: Promise<number | string>,
  options: ChildOptions,
  logStart: number,
): Promise<unknown> {
  const readyMs = options.readyMs ?? 60_000;
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const fail = (how: string): void =>
    reject(new ChildError(`${options.name} ${how}${lastWords(options.logFile, logStart)}`));
  child.once('message', resolve);
  void ended.then((how) => fail(`ended (${how}) before it was ready`));
  const timer = setTimeout(() => {
    child.kill('SIGKILL');
    fail(`was not ready within ${readyMs} ms`);
  }, readyMs);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** What the child wrote for people since it was started: its log lines are JSON, its last words are not. */
function lastWords(logFile: string | undefined, start: number): string {
  if (logFile === undefined) return '';
  const written = readFileSync(logFile).subarray(start).toString('utf8');
  const words = written.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('{'));
  const said = words.length === 0 ? '' : `:\n  ${words.slice(-8).join('\n  ')}`;
  return `${said}\n  (all of its output: ${logFile})`;
}
