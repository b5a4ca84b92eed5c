#!/usr/bin/env node
// `npx plimsoll` arrives here; the command line itself is the package @plimsoll/cli.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The command line that the project has, or none. */
function installed() {
  for (const from of [join(process.cwd(), 'package.json'), import.meta.filename]) {
    try {
      return createRequire(from).resolve('@plimsoll/cli/bin');
    } catch {
      // Not installed there.
    }
  }
  return undefined;
}

const cli = installed();
if (cli !== undefined) await import(pathToFileURL(cli).href);
else {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const child = spawn('npx', ['--yes', `@plimsoll/cli@${version}`, ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  child.on('error', () => {
    process.stderr.write(
      'plimsoll: the command line is the package @plimsoll/cli: npm install --save-dev @plimsoll/cli\n',
    );
    process.exitCode = 1;
  });
  child.on('exit', (code) => {
    process.exitCode = code ?? 1;
  });
}
