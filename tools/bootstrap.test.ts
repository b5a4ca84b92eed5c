import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { beforeAll, afterAll, describe, expect, test } from 'vitest';
import { writeTree } from './planted-trees.ts';
import { runProgram } from './steps.ts';
import type { Outcome } from './steps.ts';
import { temporaryFolder } from './temporary-folder.ts';

// A workspace whose pinned "node" is a script in a tarball beside it: the real npm installs it without a network.
const pinned = '24.0.0';
const tree = new Map([
  [
    'package.json',
    JSON.stringify({
      name: 'root',
      workspaces: ['packages/*'],
      devDependencies: { node: `file:node-${pinned}.tgz` },
    }),
  ],
  ['packages/one/package.json', JSON.stringify({ name: 'one', version: '1.0.0', dependencies: {} })],
  ['node/package.json', JSON.stringify({ name: 'node', version: pinned, bin: { node: 'bin/node' } })],
  ['node/bin/node', `#!/bin/sh\necho v${pinned}\n`],
]);

const folder = temporaryFolder();
const root = folder.path;
const inRoot = (name: string): string => path.join(root, name);
const lockFile = inRoot('.plimsoll/install.lock');

/** Runs the bootstrap as a shell would, outside any npm script. */
const bootstrap = (): Promise<Outcome> =>
  runProgram(root, process.execPath, path.join(import.meta.dirname, 'bootstrap.mjs'), root);
const silence: Outcome = { ok: true, output: '' };

type Locked = Record<string, Record<string, unknown>>;

function editLock(name: string, edit: (packages: Locked) => void): void {
  const lock = JSON.parse(readFileSync(inRoot(name), 'utf8')) as { packages: Locked };
  edit(lock.packages);
  writeFileSync(inRoot(name), JSON.stringify(lock));
}

beforeAll(() => {
  writeTree(root, tree);
  execFileSync('npm', ['pack', './node'], { cwd: root, stdio: 'pipe' });
  execFileSync('npm', ['install', '--package-lock-only', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: 'pipe',
  });
}, 60_000);

afterAll(() => folder[Symbol.dispose]());

describe('bootstrap', { timeout: 60_000 }, () => {
  test('installs what is missing, says why in one line, then is silent', async () => {
    const first = await bootstrap();
    expect(first).toEqual({
      ok: true,
      output:
        'Installing about 1 packages, because node_modules is missing; this usually takes less than a minute.\n',
    });
    expect(await bootstrap()).toEqual(silence);
    expect(existsSync(lockFile)).toBe(false);
  });

  test.each<[string, string, () => void]>([
    [
      'an interrupted install',
      'an earlier install did not finish',
      () => rmSync(inRoot('node_modules/.package-lock.json')),
    ],
    [
      'a package that is gone',
      'node_modules/node is gone',
      () => rmSync(inRoot('node_modules/node'), { recursive: true }),
    ],
    [
      'a binary that does not run',
      `Node.js ${pinned} does not run`,
      () => rmSync(inRoot('node_modules/.bin/node')),
    ],
    [
      'an install for another version',
      'node_modules/node has changed',
      () =>
        editLock('node_modules/.package-lock.json', (packages) => {
          packages['node_modules/node'] = { ...packages['node_modules/node'], version: '1.0.0' };
        }),
    ],
    [
      'an install that lacks a package',
      'node_modules/one is not installed',
      () => editLock('node_modules/.package-lock.json', (packages) => delete packages['node_modules/one']),
    ],
  ])('repairs %s', async (_what, why, spoil) => {
    spoil();
    const repaired = await bootstrap();
    expect(repaired.output).toContain(why);
    expect(repaired.ok).toBe(true);
    expect(await bootstrap()).toEqual(silence);
  });

  test('installs again when packages for this platform are missing, and leaves those for others', async () => {
    const optional = { version: '1.0.0', optional: true, os: [process.platform] };
    const lock = readFileSync(inRoot('package-lock.json'), 'utf8');
    editLock('package-lock.json', (packages) => {
      packages['node_modules/theirs'] = { ...optional, cpu: ['vax'] };
    });
    expect(await bootstrap()).toEqual(silence);
    editLock('package-lock.json', (packages) => {
      packages['node_modules/ours'] = { ...optional, cpu: [process.arch] };
    });
    const { ok, output } = await bootstrap();
    writeFileSync(inRoot('package-lock.json'), lock);
    expect(ok).toBe(false);
    expect(output).toContain('because node_modules/ours is not installed');
    expect(output).toContain('did not work: node_modules/ours is not installed. Check the network');
  });

  test.each<[string, Record<string, string>, string]>([
    ['accepts a dependency that the lockfile holds already', { node: pinned }, ''],
    [
      'refuses a dependency that the lockfile lacks',
      { pg: '8.0.0' },
      'packages/one/package.json asks for pg 8.0.0',
    ],
    ['refuses another version', { node: '25.0.0' }, 'packages/one/package.json asks for node 25.0.0'],
  ])('a changed package.json: %s', async (_what, dependencies, complaint) => {
    const manifest = readFileSync(inRoot('packages/one/package.json'), 'utf8');
    writeTree(root, new Map([['packages/one/package.json', JSON.stringify({ name: 'one', dependencies })]]));
    const { ok, output } = await bootstrap();
    writeFileSync(inRoot('packages/one/package.json'), manifest);
    expect(ok).toBe(complaint === '');
    expect(output).toBe(
      complaint &&
        `${complaint}, which package-lock.json does not hold: run \`npm install\` and commit the lockfile.\n`,
    );
  });

  test('says what failed and what to do when npm ci fails', async () => {
    const manifest = readFileSync(inRoot('package.json'), 'utf8');
    writeFileSync(
      inRoot('package.json'),
      manifest.replace('{', '{ "scripts": { "install": "echo no disk; exit 3" },'),
    );
    rmSync(inRoot('node_modules'), { recursive: true });
    const { ok, output } = await bootstrap();
    writeFileSync(inRoot('package.json'), manifest);
    expect(ok).toBe(false);
    expect(output).toMatch(/no disk.*did not work: npm ci failed \(exit 3\)\. Check the network/s);
    expect(existsSync(lockFile)).toBe(false);
  });

  test('two at once: one installs, the other waits and finds it done', async () => {
    rmSync(inRoot('node_modules'), { recursive: true, force: true });
    const outcomes = await Promise.all([bootstrap(), bootstrap()]);
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, true]);
    const output = outcomes.map((outcome) => outcome.output).join('');
    expect(output.match(/Installing/g)).toHaveLength(1);
    expect(output.match(/Waiting for another install/g)).toHaveLength(1);
    expect(await bootstrap()).toEqual(silence);
  });

  test.each<[string, string, number]>([
    ['of a dead process', `${hostname()} 999999999`, 0],
    ['of another host that fell silent', 'elsewhere 1', 61],
  ])('takes over the lock %s', async (_what, owner, silentSeconds) => {
    rmSync(inRoot('node_modules'), { recursive: true });
    mkdirSync(path.dirname(lockFile), { recursive: true });
    writeFileSync(lockFile, owner);
    utimesSync(lockFile, new Date(), Date.now() / 1000 - silentSeconds);
    const outcomes = await Promise.all([bootstrap(), bootstrap(), bootstrap()]);
    expect(outcomes.every(({ ok }) => ok)).toBe(true);
    expect(outcomes.filter(({ output }) => output.includes('Installing'))).toHaveLength(1);
    expect(existsSync(lockFile)).toBe(false);
  });
});
