import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test, type TestContext } from 'vitest';
import { clusterProcess, type ClusterProcess, type ProcessOptions } from '../test/cluster-process.ts';
import { guardianOf, nothingLeft, processesOf, query } from '../test/query.ts';
import { scratch } from '../test/scratch.ts';
import { startCluster } from './index.ts';
import { isRunning, identify, readProcess } from './process-table.ts';
import { serverUser } from './server-user.ts';
import { until } from './until.ts';

function run(ctx: TestContext, options: ProcessOptions = {}): ClusterProcess {
  const started = clusterProcess(options);
  ctx.onTestFinished(() => started.kill());
  return started;
}

test.concurrent('kill -9 of the program leaves no process and no temporary directory', async (ctx) => {
  const program = run(ctx, { cluster: { replicas: 1 } });
  const { directory } = await program.started();
  expect(processesOf(directory).length).toBeGreaterThan(2);
  await program.kill();
  await nothingLeft(directory);
});

test.concurrent.for(['primary.initialising/PG_VERSION', 'replica-1.seeding', 'primary/postmaster.pid'])(
  'kill -9 during the start, as soon as there is %s, leaves nothing, and the next start succeeds',
  async (moment, ctx) => {
    const dataDir = join(scratch(ctx), 'data');
    const program = run(ctx, { cluster: { dataDir } });
    await until(() => existsSync(join(dataDir, moment)), {
      timeoutMs: 20_000,
      everyMs: 1,
      late: () => new Error(`never saw ${moment}: ${program.said()}`),
    });
    await program.kill();
    await nothingLeft(dataDir, true);
    await using cluster = await startCluster({ dataDir });
    await query(cluster.replicas[0]!.url, 'select count(*) from pg_stat_statements');
  },
);

test.concurrent('a program that ends without stopping its cluster, or throws, leaves nothing', async (ctx) => {
  const index = new URL('./index.ts', import.meta.url).href;
  for (const [ending, code] of [
    ['', 0],
    ['throw new Error("oops");', 1],
  ] as const) {
    const home = scratch(ctx);
    const text = `import { startCluster } from '${index}'; await startCluster({ replicas: 0 }); ${ending}`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
      env: { PATH: process.env['PATH'], TMPDIR: home },
      stdio: 'ignore',
    });
    const [ended] = (await once(child, 'exit')) as [number | null];
    expect(ended).toBe(code);
    // Programs copied out of a private home are kept for the next start.
    const left = (): string[] => readdirSync(home).filter((name) => !name.startsWith('plimsoll-postgres-'));
    await until(() => left().length === 0, {
      timeoutMs: 20_000,
      late: () => new Error(`still there: ${left().join()}`),
    });
    await nothingLeft(home, true);
  }
});

test.concurrent('a frozen server is ended too, and does not hold up stop for ever', async (ctx) => {
  const program = run(ctx, { cluster: { replicas: 0 } });
  const { servers, directory } = await program.started();
  process.kill(servers[0]!.pid, 'SIGSTOP');
  await program.kill();
  await nothingLeft(directory);
});

test.concurrent('Ctrl-C in the terminal reaches neither the servers nor the guardian', async (ctx) => {
  const program = run(ctx, { cluster: { replicas: 0 } });
  const { servers, directory } = await program.started();
  // The terminal signals a whole process group; ours are in sessions of their own.
  const group = (pid: number): string =>
    readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[2]!;
  const mine = process.platform === 'linux' ? group(program.child.pid!) : '';
  if (process.platform === 'linux')
    for (const pid of [...servers.map((server) => server.pid), guardianOf(directory)])
      expect(group(pid)).not.toBe(mine);
  process.kill(guardianOf(directory), 'SIGINT');
  program.child.kill('SIGINT');
  await nothingLeft(directory);
});

test.concurrent('a kept cluster survives kill -9 of its program, and the next start waits for its guardian', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  const program = run(ctx, { cluster: { dataDir } });
  const { servers } = await program.started();
  await query(servers[0]!.url, "create table note as select 'committed' as text");
  await program.kill();
  const log = join(dataDir, 'primary.log');
  await using cluster = await startCluster({ dataDir });
  const said = readFileSync(log, 'utf8').split('received fast shutdown request');
  expect(said).toHaveLength(2);
  expect(said[1]).toMatch(/database system is shut down[^]*starting PostgreSQL/);
  expect(await query(cluster.primary.url, 'select text from note')).toEqual([{ text: 'committed' }]);
  expect(await query(cluster.replicas[0]!.url, 'select text from note')).toEqual([{ text: 'committed' }]);
});

test.concurrent('servers left by a program and a guardian that were both killed are stopped by the next start', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  const program = run(ctx, { cluster: { dataDir } });
  const { servers } = await program.started();
  process.kill(guardianOf(dataDir), 'SIGKILL');
  await program.kill();
  const left = servers.map((server) => identify(server.pid)!);
  expect(left.every(isRunning)).toBe(true);
  const lines: string[] = [];
  await using cluster = await startCluster({ dataDir, log: (line) => lines.push(line) });
  expect(left.some(isRunning)).toBe(false);
  expect(lines.join()).toMatch(/stopped PostgreSQL servers in .* that an earlier run had left/);
  await query(cluster.primary.url, 'select 1');
});

test.concurrent('a temporary cluster left by a program and a guardian that were both killed is removed by the next start', async (ctx) => {
  const program = run(ctx, { cluster: { replicas: 0 } });
  const { directory } = await program.started();
  process.kill(guardianOf(directory), 'SIGKILL');
  await program.kill();
  const lines: string[] = [];
  await using cluster = await startCluster({ replicas: 0, log: (line) => lines.push(line) });
  expect(cluster.fresh).toBe(true);
  await nothingLeft(directory);
});

test.concurrent('a postmaster.pid with a dead process id, or that of another program, does not stop a start', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  await (await startCluster({ dataDir, replicas: 0 })).stop();
  const other = spawn('sleep', ['600'], { ...serverUser() });
  const dead = spawn('true');
  await once(dead, 'exit');
  ctx.onTestFinished(() => void other.kill());
  for (const pid of [other.pid, dead.pid]) {
    writeFileSync(
      join(dataDir, 'primary/postmaster.pid'),
      `${pid}\n${dataDir}/primary\n1700000000\n5432\n\n127.0.0.1\n\nready   \n`,
    );
    await using cluster = await startCluster({ dataDir, replicas: 0 });
    await query(cluster.primary.url, 'select 1');
  }
  expect(readProcess(other.pid!)).toBeDefined();
});

test.concurrent('a directory that another live program uses is refused, and says who; this process too', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  const program = run(ctx, { cluster: { dataDir, replicas: 0 } });
  const { servers } = await program.started();
  await expect(startCluster({ dataDir })).rejects.toThrow(
    new RegExp(
      `is in use by process ${program.child.pid} \\(.*cluster-program.ts\\) since .*: stop that cluster first`,
    ),
  );
  await query(servers[0]!.url, 'select 1');
  expect(await program.stop()).toBe(0);
  await using cluster = await startCluster({ dataDir, replicas: 0 });
  await expect(startCluster({ dataDir })).rejects.toThrow(/in use by this same process/);
  await query(cluster.primary.url, 'select 1');
});

test.concurrent('of many programs that find a dead lock at once, one gets it', async (ctx) => {
  const dataDir = join(scratch(ctx), 'data');
  await (await startCluster({ dataDir, replicas: 0 })).stop();
  const holder = { pid: 999_999_999, startedAt: 'never' };
  writeFileSync(
    join(dataDir, 'lock'),
    JSON.stringify({ token: 'dead', holder, host: '', since: '', program: '' }),
  );
  const outcomes = await Promise.allSettled([0, 1, 2].map(() => startCluster({ dataDir, replicas: 0 })));
  const started = outcomes.filter((outcome) => outcome.status === 'fulfilled');
  expect(started).toHaveLength(1);
  for (const outcome of outcomes)
    if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'PL_EMBEDDED_IN_USE' });
  await query(started[0]!.value.primary.url, 'select 1');
  await started[0]!.value.stop();
  rmSync(dataDir, { recursive: true });
});
