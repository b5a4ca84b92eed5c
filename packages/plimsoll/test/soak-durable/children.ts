import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Answer, ChildSettings, Request } from './protocol.ts';

/** A process of the app, as its parent sees it; the same one after it was killed and started again. */
export interface Child {
  readonly name: string;
  /** Rejects when the process ends before it has answered. */
  ask(request: Request): Promise<Answer>;
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  /** kill -9, and another one in its place. */
  replace(settings: ChildSettings): Promise<void>;
  stop(): Promise<void>;
}

const startWithinMs = 60_000;
const stopWithinMs = 15_000;

export async function startChild(first: ChildSettings): Promise<Child> {
  let running = await begin(first);
  // A release is deployed while faults happen: one replacement after the other, or one process would be nobody's.
  let replacing: Promise<void> = Promise.resolve();
  let asked = 0;
  const child: Child = {
    name: first.name,
    ask(request) {
      const { child: process, waiting } = running;
      if (!process.connected) return Promise.reject(new Error(`${first.name} has ended`));
      asked += 1;
      const { promise, resolve, reject } = Promise.withResolvers<Answer>();
      waiting.set(asked, { resolve, reject });
      process.send({ ...request, number: asked });
      return promise;
    },
    signal(signal) {
      running.child.kill(signal);
    },
    replace(settings) {
      const replaced = replacing.then(async () => {
        running.child.kill('SIGKILL');
        await running.ended;
        running = await begin(settings);
      });
      replacing = replaced.catch(() => undefined);
      return replaced;
    },
    async stop() {
      await replacing;
      const { ended } = running;
      const kill = setTimeout(() => running.child.kill('SIGKILL'), stopWithinMs);
      if (running.child.connected) await child.ask({ do: 'stop' }).catch(() => undefined);
      if (running.child.connected) running.child.disconnect();
      await ended;
      clearTimeout(kill);
    },
  };
  return child;
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  readonly waiting: Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>;
}

async function begin(settings: ChildSettings): Promise<Running> {
  const child = fork(new URL('child.ts', import.meta.url), [JSON.stringify(settings)], {
    execArgv: ['--conditions=plimsoll:source', '--expose-gc'],
    env: { ...process.env, NODE_ENV: 'production' },
  });
  // Not by `once`, which an error of the child would end as well.
  const ended = new Promise<readonly [number | null, NodeJS.Signals | null]>((resolve) =>
    child.once('exit', (code, signal) => resolve([code, signal])),
  );
  // What is sent to it while it is being killed; whoever waits for the answer hears that it has ended.
  child.on('error', () => undefined);
  const waiting: Running['waiting'] = new Map();
  const late = setTimeout(() => child.kill('SIGKILL'), startWithinMs);
  try {
    await Promise.race([
      once(child, 'message'),
      ended.then(([code, signal]) => {
        throw new Error(`${settings.name} ended with ${String(code ?? signal)} before it was ready`);
      }),
    ]);
  } finally {
    clearTimeout(late);
  }
  child.on('message', (answer: Answer) => {
    waiting.get(answer.of)?.resolve(answer);
    waiting.delete(answer.of);
  });
  void ended.then(() => {
    for (const { reject } of waiting.values()) reject(new Error(`${settings.name} has ended`));
    waiting.clear();
  });
  return { child, ended, waiting };
}
