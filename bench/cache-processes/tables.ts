import { fork } from 'node:child_process';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createClient } from 'redis';
import { noRedis, startRedis } from '../../packages/plimsoll/src/redis/fixtures/redis-server.ts';
import { rowOf, type Row } from '../report.ts';
import type { Ask, Told } from './child.ts';
import { sharedPeers, type SharedPeer } from './peers.ts';

type Server = ReturnType<typeof createClient>;
type Ended = { readonly ask: (ask: Ask) => Promise<Told>; readonly end: () => void };

const one = (of: Pick<Row, 'case' | 'subject' | 'metric' | 'unit'>, value: number): Row => rowOf(of, [value]);
const quantile = (values: readonly number[], at: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * at))] ?? Number.NaN;

async function start(peer: SharedPeer, port: number): Promise<Ended> {
  const child = fork(path.join(import.meta.dirname, 'child.ts'), [peer.name, String(port)], {
    execArgv: process.execArgv,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const waiting = new Map<number, PromiseWithResolvers<Told>>();
  const expectAnswer = (number: number): Promise<Told> => {
    const answer = Promise.withResolvers<Told>();
    waiting.set(number, answer);
    // Who awaits it is told; a table that has failed awaits no more.
    answer.promise.catch(() => undefined);
    return answer.promise;
  };
  child.on('message', (message) => {
    const { number, told, error } = message as { number: number; told: Told; error?: string };
    const answer = waiting.get(number);
    waiting.delete(number);
    if (error === undefined) answer?.resolve(told);
    else answer?.reject(new Error(`${peer.name}: ${error}`));
  });
  child.on('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error(`${peer.name}: its process has ended`));
  });
  let asked = 0;
  await expectAnswer(0);
  return {
    ask(ask) {
      asked += 1;
      child.send({ number: asked, ask });
      return expectAnswer(asked);
    },
    end: () => child.kill('SIGKILL'),
  };
}

async function withProcesses<T>(
  peer: SharedPeer,
  port: number,
  count: number,
  work: (processes: readonly Ended[]) => Promise<T>,
): Promise<T> {
  const processes = await Promise.all(Array.from({ length: count }, () => start(peer, port)));
  try {
    return await work(processes);
  } finally {
    for (const { end } of processes) end();
  }
}

/** Four processes of 250 callers each, who all want one key. */
async function stampede(peer: SharedPeer, port: number): Promise<readonly Row[]> {
  return await withProcesses(peer, port, 4, async (processes) => {
    const rows: Row[] = [];
    for (const fails of [false, true]) {
      const load: Ask = { do: 'load', key: `hot ${fails}`, callers: 250, tookMs: 300, value: 'v', fails };
      const told = await Promise.all(processes.map(({ ask }) => ask(load)));
      const of = {
        case: `four processes, stampede${fails ? ', the loader fails' : ''}`,
        subject: peer.name,
        unit: '',
      };
      const calls = told.reduce((sum, each) => sum + (each.calls ?? 0), 0);
      rows.push(one({ ...of, metric: 'loader calls for 4 x 250 callers, in 8 s at most' }, calls));
    }
    return rows;
  });
}

/** One fills slowly with what was; the other invalidates meanwhile. Then both read, with a loader that has what is. */
async function duringFill(peer: SharedPeer, port: number): Promise<readonly Row[]> {
  return await withProcesses(peer, port, 2, async ([filler, other]) => {
    let stale = 0;
    const rounds = 20;
    for (let n = 0; n < rounds; n += 1) {
      const key = `filled ${n}`;
      const filling = filler?.ask({ do: 'load', key, callers: 1, tookMs: 100, value: 'old' });
      await delay(40);
      await other?.ask({ do: 'invalidate', key, by: 'key' });
      await filling;
      await delay(20);
      const again: Ask = { do: 'load', key, callers: 1, tookMs: 0, value: 'new' };
      const read = [await other?.ask(again), await filler?.ask(again)];
      if (read.some((told) => told?.values?.[0] !== 'new')) stale += 1;
    }
    const of = { case: 'invalidated by another process during a fill', subject: peer.name, unit: '' };
    return [one({ ...of, metric: `stale in either process afterwards, of ${rounds}` }, stale)];
  });
}

/** How long the other process still answers what was invalidated. */
async function staleness(peer: SharedPeer, port: number): Promise<readonly Row[]> {
  const rounds = 300;
  // Not counted: until then code is compiled.
  const cold = 50;
  return await withProcesses(peer, port, 2, async ([writer, other]) => {
    const rows: Row[] = [];
    for (const by of ['key', 'tag'] as const) {
      const fromCall: number[] = [];
      const fromResolved: number[] = [];
      for (let n = -cold; n < rounds; n += 1) {
        const key = `${by} ${n}`;
        await other?.ask({ do: 'load', key, callers: 1, tookMs: 0, value: 'v' });
        const watching = other?.ask({ do: 'watch', key, forMs: 5_000 });
        await delay(10);
        const { beganMs = 0, resolvedMs = 0 } = (await writer?.ask({ do: 'invalidate', key, by })) ?? {};
        const { goneMs = Infinity } = (await watching) ?? {};
        if (goneMs < beganMs) throw new Error(`${peer.name}: ${key} was not kept`);
        if (n < 0) continue;
        fromCall.push(goneMs - beganMs);
        fromResolved.push(Math.max(0, goneMs - resolvedMs));
      }
      const of = {
        case: `stale on another process, by ${by}, ${rounds} times`,
        subject: peer.name,
        unit: 'ms',
      };
      for (const [from, values] of [
        ['call began', fromCall],
        ['call resolved', fromResolved],
      ] as const)
        for (const at of [0.5, 0.99])
          rows.push(one({ ...of, metric: `p${at * 100} from when the ${from}` }, quantile(values, at)));
    }
    return rows;
  });
}

const subscribers = async (server: Server): Promise<number> =>
  JSON.stringify(await server.sendCommand(['CLIENT', 'LIST', 'TYPE', 'pubsub'])).split(' addr=').length - 1;

/** All links that listen are cut by the server just before each invalidation; they connect again by themselves. */
async function cutLink(peer: SharedPeer, port: number, server: Server): Promise<readonly Row[]> {
  return await withProcesses(peer, port, 2, async ([writer, other]) => {
    const keys = Array.from({ length: 20 }, (_, n) => `cut ${n}`);
    for (const key of keys) {
      const untilMs = performance.now() + 10_000;
      // Kept only while it is trusted, so this waits until the link is there again.
      let kept: boolean | undefined = false;
      while (performance.now() < untilMs && !(kept === true && (await subscribers(server)) >= 2)) {
        await other?.ask({ do: 'load', key, callers: 1, tookMs: 0, value: 'v' });
        kept = (await other?.ask({ do: 'kept', key }))?.kept;
        await delay(50);
      }
      if (kept !== true) throw new Error(`${peer.name}: ${key} was not kept`);
      await server.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
      await writer?.ask({ do: 'invalidate', key, by: 'key' });
      await delay(100);
    }
    await delay(2_500);
    let stale = 0;
    for (const key of keys) if ((await other?.ask({ do: 'kept', key }))?.kept === true) stale += 1;
    const of = { case: 'a link that is cut just before an invalidation', subject: peer.name, unit: '' };
    return [one({ ...of, metric: 'still kept by the other process 2.5 s later, of 20' }, stale)];
  });
}

/** What the shared tier is asked to do, counted by the server: also what scripts do in it. */
async function operations(peer: SharedPeer, port: number, server: Server): Promise<readonly Row[]> {
  const kept = await peer.open(port);
  const commands = async (work: () => Promise<unknown>): Promise<number> => {
    // Fills that nobody has waited for are under way.
    await delay(2_000);
    await server.configResetStat();
    await work();
    // What it leaves to do in the background.
    await delay(300);
    const stats = await server.info('commandstats');
    const counts = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)];
    const background = new Set(['info', 'config|resetstat', 'ping', 'time', 'xrange', 'exists']);
    return counts.reduce((sum, [, name = '', calls]) => sum + (background.has(name) ? 0 : Number(calls)), 0);
  };
  const rows: Row[] = [];
  for (const count of [1_000, 100_000]) {
    const keys = Array.from({ length: count }, (_, n) => `${count} ${n}`);
    const load = async (): Promise<string> => 'v';
    for (let from = 0; from < count; from += 200)
      await Promise.all(keys.slice(from, from + 200).map((key) => kept.getOrSet(key, load)));
    const of = {
      case: `a tag of ${count.toLocaleString('en')} keys is invalidated, shared tier`,
      subject: peer.name,
      unit: '',
    };
    const call = await commands(async () => await kept.invalidateTag?.('all'));
    rows.push(one({ ...of, metric: 'Redis commands of the call, and of 300 ms after it' }, call));
    const read = await commands(async () => {
      for (const key of keys.slice(0, 500)) await kept.getOrSet(key, load);
    });
    rows.push(one({ ...of, metric: 'Redis commands for each of the first 500 reads' }, read / 500));
  }
  return rows;
}

/** Real processes around a private Redis. Empty where there is none. */
export async function processTables(
  say: (line: string) => void,
): Promise<{ readonly rows: readonly Row[]; readonly settings: Readonly<Record<string, string>> }> {
  if (noRedis !== undefined) {
    say(`bench: between processes: skipped, ${noRedis}`);
    return { rows: [], settings: {} };
  }
  const rows: Row[] = [];
  const failed: Record<string, string> = {};
  const redis = await startRedis();
  const server = createClient({ url: redis.url });
  server.on('error', () => undefined);
  await server.connect();
  try {
    for (const peer of sharedPeers) {
      say(`bench: between processes: ${peer.name}`);
      const tables = peer.bus
        ? [stampede, duringFill, staleness, cutLink, operations]
        : [stampede, duringFill];
      for (const table of tables) {
        await server.flushAll();
        try {
          rows.push(...(await table(peer, redis.port, server)));
        } catch (error) {
          // Said in the result too: a table that is missing is none that was won.
          failed[`${table.name}: ${peer.name}`] = `failed: ${String(error)}`;
          say(`bench: ${table.name} of ${peer.name} failed: ${String(error)}`);
        }
      }
    }
  } finally {
    server.destroy();
    await redis.stop();
  }
  const settings = {
    ...Object.fromEntries(sharedPeers.map(({ name, setting }) => [name, setting])),
    ...failed,
  };
  return {
    rows: rows.toSorted((a, b) => a.case.localeCompare(b.case) || a.metric.localeCompare(b.metric)),
    settings,
  };
}
