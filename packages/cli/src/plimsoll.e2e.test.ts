import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';

const bin = join(import.meta.dirname, '../bin/plimsoll.js');
let server: TestDatabase;
let folder: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  return () => server.drop();
});
beforeEach(async () => {
  // Inside the checkout, so that the plan finds its packages.
  const scratch = join(import.meta.dirname, '../.plimsoll');
  await mkdir(scratch, { recursive: true });
  folder = await mkdtemp(join(scratch, 'cli-'));
  await cp(join(import.meta.dirname, '../../../examples/hello'), folder, { recursive: true });
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await rm(folder, { recursive: true, force: true });
});

interface Run {
  readonly child: ChildProcess;
  /** Standard error so far. */
  readonly said: () => string;
  readonly ended: Promise<{ code: number | null; out: string; err: string }>;
}

function plimsoll(args: readonly string[], env: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, [bin, ...args], {
    cwd: folder,
    env: {
      ...process.env,
      DATABASE_URL: server.url,
      DATABASE_REPLICA_URLS: server.replicaUrls.join(','),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let err = '';
  child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
    err += chunk;
  });
  const out = text(child.stdout!);
  const ended = once(child, 'close').then(async ([code]) => ({
    code: code as number | null,
    out: await out,
    err,
  }));
  return { child, said: () => err, ended };
}

async function urlOf(run: Run): Promise<string> {
  await expect.poll(run.said, { timeout: 20_000 }).toMatch(/answers at http:\/\/\S+/);
  return /answers at (http:\/\/\S+)/.exec(run.said())![1]!;
}

const greeting = async (url: string): Promise<unknown> => (await fetch(`${url}/greet/ada`)).json();

test('start serves until it is told to stop, drains and exits with 0', async () => {
  const run = plimsoll(['start']);
  expect(await greeting(await urlOf(run))).toEqual({ text: 'hello ada' });
  run.child.kill('SIGTERM');
  const { code, err } = await run.ended;
  expect({ code, err }).toEqual({ code: 0, err: expect.stringContaining('stopping: SIGTERM') as string });
});

test('new writes an app whose test passes, and which runs and answers', { timeout: 60_000 }, async () => {
  const written = await plimsoll(['new', 'first-app']).ended;
  expect(written).toMatchObject({ code: 0, err: '' });
  expect(written.out).toContain('npm run dev');
  const app = join(folder, 'first-app');
  expect((await readdir(app)).toSorted()).toEqual([
    '.gitignore',
    'README.md',
    'modules',
    'package.json',
    'plimsoll.load.ts',
    'plimsoll.plan.ts',
    'tsconfig.json',
  ]);
  const tested = spawn(process.execPath, ['--conditions=plimsoll:source', '--test'], {
    cwd: app,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(tested);
  const output = await text(tested.stdout);
  expect(output).toMatch(/pass 2\b/);
  expect(output).toMatch(/fail 0\b/);

  const url = await urlOf(plimsoll(['start', '--plan', 'first-app/plimsoll.plan.ts', '--port', '0']));
  const sent = await fetch(`${url}/notes`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"text":"hello there"}',
  });
  expect([sent.status, await sent.json()]).toEqual([201, { id: 1, text: 'hello there' }]);
  const read = async (): Promise<unknown> => (await fetch(`${url}/notes?limit=5`)).json();
  await expect.poll(read, { timeout: 10_000 }).toEqual({ notes: [{ id: 1, text: 'hello there' }], words: 2 });
});

test('new refuses a folder that has something in it, and a name that cannot be one', async () => {
  await mkdir(join(folder, 'full'));
  await writeFile(join(folder, 'full/mine.txt'), 'mine');
  const full = await plimsoll(['new', 'full']).ended;
  expect(full).toMatchObject({
    code: 2,
    err: expect.stringContaining('is not empty (it has mine.txt)') as string,
  });
  expect((await plimsoll(['new', 'No Good']).ended).err).toContain('cannot be the name of an app');
  expect((await plimsoll(['new']).ended).err).toContain('needs a folder');
});

test('migrate applies once and says so', async () => {
  const first = await plimsoll(['migrate']).ended;
  const second = await plimsoll(['migrate']).ended;
  expect(first.code).toBe(0);
  expect(second.out).toContain('0 applied');
});

test('load prints the headroom of a running app, as text and as JSON', { timeout: 120_000 }, async () => {
  const url = await urlOf(plimsoll(['start', '--log-level', 'silent']));
  const limits = ['--target', url, '--duration', '12', '--max-rps', '600', '--seed', '1'];
  const json = await plimsoll(['load', ...limits, '--json']).ended;
  expect(json.err).not.toContain('plimsoll: ');
  const report = JSON.parse(json.out) as { outcome: string; expectedPeakRps: number; steps: unknown[] };
  expect(report.expectedPeakRps).toBe(20);
  expect(report.steps.length).toBeGreaterThan(0);
  const words = await plimsoll(['load', ...limits]).ended;
  expect(words.out).toMatch(/Headroom .*x/);
});

test.each([
  { name: 'no command', args: [], code: 2, out: 'Usage: plimsoll <command>' },
  { name: 'help', args: ['--help'], code: 0, out: 'Usage: plimsoll <command>' },
  { name: 'help of a command', args: ['load', '--help'], code: 0, out: '--max-rps <number>' },
  {
    name: 'unknown command',
    args: ['lod'],
    code: 2,
    err: 'there is no command "lod"; there are new, start, dev, migrate, load',
  },
  { name: 'unknown option', args: ['start', '--prot', '1'], code: 2, err: "Unknown option '--prot'" },
  {
    name: 'impossible number',
    args: ['start', '--port', 'http'],
    code: 2,
    err: '--port is "http"; want a number from 0 to 65535',
  },
  { name: 'no plan', args: ['start', '--plan', 'nowhere.ts'], code: 2, err: 'there is no plan at' },
  {
    name: 'a file that is no plan',
    args: ['start', '--plan', 'plimsoll.load.ts'],
    code: 2,
    err: 'is not a plan',
  },
])('$name: exit code $code and one clear message', async ({ args, code, out = '', err = '' }) => {
  const result = await plimsoll(args).ended;
  expect(result).toEqual({
    code,
    out: expect.stringContaining(out) as string,
    err: expect.stringContaining(err) as string,
  });
  expect(result.err).not.toContain('    at ');
});

test('a plan with problems names them all, without a stack', async () => {
  const file = join(folder, 'plimsoll.plan.ts');
  await writeFile(
    file,
    (await readFile(file, 'utf8')).replace(
      "name: 'hello',\n  modules",
      "name: 'No Good',\n  timeoutMs: -1,\n  modules",
    ),
  );
  const { code, err } = await plimsoll(['start']).ended;
  expect(code).toBe(1);
  expect(err).toMatch(/the plan has 2 problems:\n {2}name: .*\n {2}timeoutMs: /);
  expect(err).not.toContain('    at ');
});

test('a port that is taken is explained', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  const { code, err } = await plimsoll(['start', '--port', String(port)]).ended;
  taken.close();
  expect({ code, err }).toEqual({
    code: 1,
    err: expect.stringContaining(`port ${port} of 127.0.0.1 is taken`) as string,
  });
});

test('a database that is not there is explained', async () => {
  const { code, err } = await plimsoll(['start'], {
    DATABASE_URL: 'postgres://u@127.0.0.1:1/none',
    DATABASE_REPLICA_URLS: '',
  }).ended;
  expect(code).toBe(1);
  expect(err).toMatch(/primary: .*ECONNREFUSED/);
});

test('dev starts again when a file changes, and waits after an error', { timeout: 60_000 }, async () => {
  const run = plimsoll(['dev']);
  const file = join(folder, 'plimsoll.plan.ts');
  const source = await readFile(file, 'utf8');
  expect(await greeting(await urlOf(run))).toEqual({ text: 'hello ada' });

  await writeFile(file, `${source}\nthis is no TypeScript`);
  await expect.poll(run.said, { timeout: 20_000 }).toContain('waiting for a change');
  expect(run.said()).toContain('plimsoll.plan.ts changed, starting again');

  await writeFile(file, source.replace('hello ${name}', 'good day, ${name}'));
  await expect.poll(() => run.said().match(/answers at/g)?.length, { timeout: 20_000 }).toBe(2);
  const url = [...run.said().matchAll(/answers at (http:\/\/\S+)/g)].at(-1)![1]!;
  expect(await greeting(url)).toEqual({ text: 'good day, ada' });

  run.child.kill('SIGINT');
  expect((await run.ended).code).toBe(0);
  await expect(fetch(url)).rejects.toThrow();
});

test('an app ends when its parent is killed', async () => {
  const parent = spawn(
    process.execPath,
    [
      '--conditions=plimsoll:source',
      '--input-type=module',
      '--eval',
      `
    import { startChild } from '@plimsoll/cli/process';
    const child = await startChild({ name: 'hello', file: ${JSON.stringify(bin)}, args: ['start', '--log-level', 'silent'], cwd: ${JSON.stringify(folder)} });
    console.log(JSON.stringify({ pid: child.pid, url: child.ready.url }));
  `,
    ],
    {
      cwd: import.meta.dirname,
      env: { ...process.env, DATABASE_URL: server.url, DATABASE_REPLICA_URLS: '' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  children.push(parent);
  const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
  const { pid, url } = JSON.parse(line.toString()) as { pid: number; url: string };
  expect(await greeting(url)).toEqual({ text: 'hello ada' });
  parent.kill('SIGKILL');
  const alive = (): boolean => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await expect.poll(alive, { timeout: 15_000 }).toBe(false);
});
