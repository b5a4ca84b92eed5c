import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Answer, Answered, Asked, Policy, ProcessSettings, ProcessStats, Request } from './protocol.ts';

/** A process that serves, as its parent sees it. */
export interface ServingProcess {
  readonly number: number;
  /** Rejects when the process has ended. */
  ask(
    request: Request,
    client?: { session: string; token: string | undefined; policy: Policy },
  ): Promise<Answer>;
  stats(): Promise<ProcessStats>;
  stop(): Promise<void>;
}

const nobody = { session: '', token: undefined, policy: 'routed' } as const;
const stopWithinMs = 5_000;

export async function startProcess(settings: ProcessSettings): Promise<ServingProcess> {
  const child: ChildProcess = fork(new URL('process.ts', import.meta.url), [JSON.stringify(settings)], {
    execArgv: ['--conditions=plimsoll:source'],
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const ended = once(child, 'exit');
  const waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  await Promise.race([
    once(child, 'message'),
    ended.then(([code]) => {
      throw new Error(`process ${settings.number} ended with code ${String(code)} before it was ready`);
    }),
  ]);
  child.on('message', (message) => {
    for (const answer of message as readonly Answered[]) {
      waiting.get(answer.of)?.resolve(answer);
      waiting.delete(answer.of);
    }
  });
  void ended.then(([code]) => {
    for (const { reject } of waiting.values())
      reject(new Error(`process ${settings.number} ended with code ${String(code)}`));
    waiting.clear();
  });

  let asked = 0;
  let requests: Asked[] = [];
  const ask: ServingProcess['ask'] = (request, client = nobody) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (!child.connected) return Promise.reject(new Error(`process ${settings.number} has ended`));
    asked += 1;
    waiting.set(asked, { resolve, reject });
    requests.push({ ...request, ...client, number: asked });
    // Those of one turn of the loop travel together.
    if (requests.length === 1)
      setImmediate(() => {
        if (child.connected) child.send(requests);
        requests = [];
      });
    return promise;
  };

  return {
    number: settings.number,
    ask,
    async stats() {
      const { stats } = await ask({ do: 'stats' });
      if (stats === undefined) throw new Error(`process ${settings.number} told no statistics`);
      return stats;
    },
    async stop() {
      const kill = setTimeout(() => child.kill('SIGKILL'), stopWithinMs);
      if (child.connected) await ask({ do: 'stop' }).catch(() => undefined);
      if (child.connected) child.disconnect();
      await ended;
      clearTimeout(kill);
    },
  };
}
