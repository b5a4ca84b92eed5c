/**
 * Installs what package-lock.json pins when node_modules does not hold it yet: `node tools/bootstrap.mjs [folder]`.
 * Plain JavaScript without dependencies, because it runs before there are any, on Node 20. Silent when there is
 * nothing to do. The lockfile that npm itself leaves in node_modules, as the last step of an install, is the record
 * of what is there: an interrupted install leaves none.
 */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from './install-lock.mjs';

const dependencyFields = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'];

const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

function readInstalled(root) {
  try {
    return readJson(path.join(root, 'node_modules/.package-lock.json')).packages;
  } catch {
    return undefined;
  }
}

/** Whether an optional package is for this machine. Where the C library matters too, its siblings tell enough. */
const fitsHere = ({ os, cpu, libc }) =>
  libc === undefined && os?.includes(process.platform) === true && cpu?.includes(process.arch) === true;

function workspaces(root, patterns = []) {
  const folders = patterns.flatMap((pattern) => {
    if (!pattern.endsWith('/*')) return [pattern];
    const parent = pattern.slice(0, -2);
    return fs.readdirSync(path.join(root, parent)).map((name) => `${parent}/${name}`);
  });
  return folders.filter((folder) => fs.existsSync(path.join(root, folder, 'package.json')));
}

/** A dependency that a package.json asks for and package-lock.json does not hold; no install can repair that. */
export function findUnlocked(root) {
  const { packages } = readJson(path.join(root, 'package-lock.json'));
  const pinned = (folder, name) => {
    const found = packages[path.posix.join(folder, 'node_modules', name)] ?? packages[`node_modules/${name}`];
    return (found?.link ? packages[found.resolved] : found)?.version;
  };
  for (const folder of ['', ...workspaces(root, readJson(path.join(root, 'package.json')).workspaces)]) {
    const manifest = readJson(path.join(root, folder, 'package.json'));
    for (const field of dependencyFields) {
      for (const [name, wanted] of Object.entries(manifest[field] ?? {})) {
        const recorded = packages[folder]?.[field]?.[name];
        if (recorded !== wanted && pinned(folder, name) !== wanted)
          return `${path.join(folder, 'package.json')} asks for ${name} ${wanted}`;
      }
    }
  }
  return undefined;
}

/** Why node_modules is not what package-lock.json pins, or undefined when it is. */
export function whyInstall(root) {
  const installed = readInstalled(root);
  if (!fs.existsSync(path.join(root, 'node_modules'))) return 'node_modules is missing';
  if (installed === undefined) return 'an earlier install did not finish';
  const { packages } = readJson(path.join(root, 'package-lock.json'));
  for (const [place, pinned] of Object.entries(packages)) {
    const found = installed[place];
    if (place === '' || (found === undefined && pinned.optional && !fitsHere(pinned))) continue;
    if (found === undefined) return `${place} is not installed`;
    if (found.version !== pinned.version || found.integrity !== pinned.integrity)
      return `${place} has changed`;
    if (!fs.existsSync(path.join(root, place))) return `${place} is gone`;
  }
  const node = packages['node_modules/node']?.version;
  return node === undefined || runsNode(root, node) ? undefined : `the pinned Node.js ${node} does not run`;
}

function runsNode(root, version) {
  const binary = path.join(root, 'node_modules/.bin/node');
  if (fs.existsSync(binary) && fs.realpathSync(binary) === fs.realpathSync(process.execPath))
    return process.version === `v${version}`;
  return spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout?.trim() === `v${version}`;
}

/** `npm ci` by the npm that runs us, on a Node.js outside the node_modules it is about to delete. */
async function npmCi(root) {
  const modules = path.join(root, 'node_modules') + path.sep;
  const folders = (process.env.PATH ?? '')
    .split(path.delimiter)
    .filter((folder) => !`${folder}${path.sep}`.startsWith(modules));
  const nodes = [
    process.env.npm_node_execpath,
    process.execPath,
    ...folders.map((folder) => path.join(folder, 'node')),
  ];
  const node = nodes.find(
    (file) => file && fs.existsSync(file) && !fs.realpathSync(file).startsWith(modules),
  );
  const cli = process.env.npm_execpath;
  const [command, ...first] = node && cli && path.basename(cli) === 'npm-cli.js' ? [node, cli] : ['npm'];
  const args = [...first, 'ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  const env = { ...process.env, PATH: folders.join(path.delimiter) };
  const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (output += text));
  const failure = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code === 0 ? undefined : `exit ${code ?? signal}`));
  });
  return { failure, output };
}

async function install(root) {
  const why = whyInstall(root);
  if (why === undefined) return; // Another one installed while this one waited for the lock.
  const packages = Object.values(readJson(path.join(root, 'package-lock.json')).packages);
  const count = packages.filter(
    (pinned) => pinned.integrity && (!pinned.optional || fitsHere(pinned)),
  ).length;
  console.log(`Installing about ${count} packages, because ${why}; this usually takes less than a minute.`);
  const { failure, output } = await npmCi(root);
  const wrong = failure === undefined ? whyInstall(root) : `npm ci failed (${failure})`;
  if (wrong === undefined) return;
  throw new Error(
    `${output}\nThe install in ${root} did not work: ${wrong}. Check the network and the disk, remove node_modules and run the command again.`,
  );
}

/** Makes `root/node_modules` what its lockfile pins; rejects with a sentence for people when it cannot. */
export async function bootstrap(root) {
  const unlocked = findUnlocked(root);
  if (unlocked !== undefined)
    throw new Error(
      `${unlocked}, which package-lock.json does not hold: run \`npm install\` and commit the lockfile.`,
    );
  if (whyInstall(root) !== undefined)
    await withLock(path.join(root, '.plimsoll/install.lock'), () => install(root));
}

const self = fileURLToPath(import.meta.url);
if (process.argv[1] && fs.realpathSync(process.argv[1]) === self) {
  const root = fs.realpathSync(process.argv[2] ?? path.join(path.dirname(self), '..'));
  await bootstrap(root).catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
