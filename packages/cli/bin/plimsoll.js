#!/usr/bin/env node
// Starts the command line. In a checkout the TypeScript sources run directly, by type stripping and the
// `plimsoll:source` export condition; an installed package runs its build.
const wanted = [22, 18];
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < wanted[0] || (major === wanted[0] && minor < wanted[1])) {
  process.stderr.write(
    `plimsoll needs Node ${wanted.join('.')} or newer and runs on ${process.versions.node}\n`,
  );
  process.exit(1);
}
const installed = import.meta.dirname.split(/[\\/]/).includes('node_modules');
if (installed) await import('../dist/main.js');
else {
  const { registerHooks } = await import('node:module');
  registerHooks({
    resolve: (specifier, context, next) =>
      next(specifier, { ...context, conditions: [...context.conditions, 'plimsoll:source'] }),
  });
  await import('../src/main.ts');
}
