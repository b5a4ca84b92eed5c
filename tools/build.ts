/** `npm run build [root]`: compiles each package from src/ to dist/ and copies the files that are not TypeScript. */
import { cpSync, rmSync } from 'node:fs';
import path from 'node:path';
import { listFiles, listPackages } from './source-tree.ts';
import { runProgram, runSteps } from './steps.ts';
import type { Outcome } from './steps.ts';

/** A package is compiled against the built types of the ones before it, as its users will see them. */
const order = ['packages/plimsoll', 'packages/embedded', 'packages/cli'];

async function buildPackage(root: string, folder: string): Promise<Outcome> {
  const at = (name: string): string => path.join(root, folder, name);
  rmSync(at('dist'), { recursive: true, force: true });
  const outcome = await runProgram(root, 'tsc', '-p', at('tsconfig.build.json'));
  const assets = listFiles(root, `${folder}/src`).filter((file) => !file.endsWith('.ts'));
  for (const asset of assets) cpSync(path.join(root, asset), at(asset.replace(`${folder}/src`, 'dist')));
  return outcome;
}

export async function build(root: string, print?: (text: string) => void): Promise<boolean> {
  const unknown = listPackages(root).filter(({ folder }) => !order.includes(folder));
  if (unknown.length > 0)
    throw new Error(`${unknown[0]?.folder} has no place in the build order of tools/build.ts`);
  const steps = order.map((folder) => ({ name: `build ${folder}`, run: () => buildPackage(root, folder) }));
  return runSteps(steps, print);
}

if (import.meta.main) {
  const root = path.resolve(process.argv[2] ?? path.join(import.meta.dirname, '..'));
  if (!(await build(root))) process.exitCode = 1;
}
