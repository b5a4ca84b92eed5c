import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { clusterProcess } from '../test/cluster-process.ts';
import { nothingLeft, processesOf, query } from '../test/query.ts';
import { scratch } from '../test/scratch.ts';

const base = fileURLToPath(new URL('../../../tsconfig.base.json', import.meta.url));

function nodeModules(): string {
  const pg = createRequire(import.meta.url).resolve('pg/package.json');
  return dirname(dirname(pg));
}

test('the built package runs without its sources, its guardian too', async (ctx) => {
  const home = scratch(ctx);
  const tsc = createRequire(import.meta.url).resolve('typescript/package.json');
  const options = {
    rootDir: import.meta.dirname,
    outDir: join(home, 'dist'),
    typeRoots: [join(nodeModules(), '@types')],
  };
  const files = readdirSync(import.meta.dirname).filter((name) => !name.includes('.test.'));
  const config = {
    extends: base,
    compilerOptions: options,
    files: files.map((name) => join(import.meta.dirname, name)),
  };
  writeFileSync(join(home, 'tsconfig.json'), JSON.stringify(config));
  writeFileSync(join(home, 'package.json'), '{ "type": "module" }');
  symlinkSync(nodeModules(), join(home, 'node_modules'));
  execFileSync(process.execPath, [join(dirname(tsc), 'bin/tsc'), '-p', join(home, 'tsconfig.json')], {
    stdio: 'pipe',
  });
  expect(existsSync(join(home, 'dist/guardian-main.js'))).toBe(true);

  const run = clusterProcess({ source: join(home, 'dist/index.js') });
  ctx.onTestFinished(() => run.kill());
  const { servers, directory } = await run.started();
  expect(processesOf(directory).some((entry) => entry.command.includes('dist/guardian-main.js'))).toBe(true);
  await query(servers[1]!.url, 'select 1');
  await run.kill();
  await nothingLeft(directory);
});
