import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

export interface Child {
  readonly origin: string;
  /** What the server tells of itself. */
  state(): Promise<unknown>;
  stop(): Promise<void>;
}

const longestStartMs = 20_000;

/** A server of this area in a process of its own; it ends with this one, whatever ends that. */
export async function startChild(file: string, settings: object): Promise<Child> {
  const child = fork(path.join(import.meta.dirname, 'servers', file), [JSON.stringify(settings)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: ['--conditions=plimsoll:source'],
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), longestStartMs);
  try {
    const origin = await Promise.race([
      once(child, 'message').then(([message]) => message as string),
      ended.then(([code, signal]) => {
        throw new Error(`${file} ended with ${String(code ?? signal)} before it listened`);
      }),
    ]);
    return {
      origin,
      async state() {
        const answered = once(child, 'message');
        child.send('state');
        const [state] = (await answered) as [unknown];
        return state;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
