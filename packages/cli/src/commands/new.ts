import { cp, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Command } from '../command.ts';
import { UsageError } from '../failure.ts';

const template = join(import.meta.dirname, '../../template');

export const newApp: Command = {
  summary: 'write a new app: one module with its test, a plan, a load scenario',
  options: {},
  argument: { value: '<folder>', about: 'where to write it; must be empty or not exist' },
  async run(_values, folder) {
    if (folder === undefined) throw new UsageError('plimsoll new needs a folder: plimsoll new my-app');
    const directory = resolve(folder);
    const name = basename(directory);
    if (!/^[a-z][a-z0-9-]*$/.test(name)) {
      throw new UsageError(
        `${JSON.stringify(name)} cannot be the name of an app; want lower-case letters, digits and dashes`,
      );
    }
    await mkdir(directory, { recursive: true });
    const there = await readdir(directory);
    if (there.length > 0)
      throw new UsageError(
        `${directory} is not empty (it has ${there.slice(0, 3).join(', ')}); choose another folder`,
      );
    await cp(template, directory, { recursive: true });
    // npm leaves a file named .gitignore out of packages.
    await rename(join(directory, 'gitignore'), join(directory, '.gitignore'));
    for (const file of ['README.md', 'plimsoll.plan.ts']) {
      const path = join(directory, file);
      await writeFile(path, (await readFile(path, 'utf8')).replaceAll('my-app', name));
    }
    await writeFile(join(directory, 'package.json'), `${JSON.stringify(await manifest(name), null, 2)}\n`);
    process.stdout.write(
      `wrote ${directory}\n\n  cd ${folder}\n  npm install\n  npm run dev     then open http://127.0.0.1:3000/notes\n  npm test\n`,
    );
    return 0;
  },
};

/** Of the versions that this command line was made with. */
async function manifest(name: string): Promise<unknown> {
  const own = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
    version: string;
  };
  return {
    name,
    version: '0.1.0',
    private: true,
    type: 'module',
    engines: { node: '>=22.19' },
    scripts: {
      dev: 'plimsoll dev',
      start: 'plimsoll start',
      load: 'plimsoll load',
      test: 'node --test',
      types: 'tsc',
    },
    dependencies: { plimsoll: own.version, zod: '^4.0.0' },
    devDependencies: {
      '@plimsoll/cli': own.version,
      '@plimsoll/embedded': own.version,
      '@types/node': '^24.0.0',
      typescript: '^7.0.0',
    },
  };
}
