import { defineConfig } from 'vitest/config';

const source = ['plimsoll:source'];
const roots = ['packages/*', 'examples/*', 'tools'];
const under = (suffix: string): string[] => roots.map((root) => `${root}/**/*${suffix}`);
const resolve = { conditions: source };
const ssr = { resolve: { conditions: source, externalConditions: source } };
// The tests of the template run where `plimsoll new` writes them.
const exclude = ['**/node_modules/**', '**/dist/**', 'packages/cli/template/**', '**/.plimsoll/**'];

/** Test files share their workers, and what these have loaded: half of the processor time. No module keeps what a file does. */
const isolate = false;

/** Minutes each: `npm run test:long`. */
const long = {
  resolve,
  ssr,
  test: {
    name: 'long',
    include: [...under('.long.test.ts'), 'examples/shop/crash.e2e.test.ts'],
    exclude,
    globalSetup: ['./tools/pg-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
};

/**
 * `unit` is pure and fast, `prop` states properties and models, `pg` talks to the real PostgreSQL that
 * its global set-up starts, `types` compiles and never runs.
 */
export default defineConfig({
  test: {
    reporters: ['default', './tools/count-reporter.ts'],
    projects: [
      {
        resolve,
        ssr,
        test: {
          name: 'unit',
          include: under('.test.ts'),
          exclude: [...exclude, '**/*.{pg,prop,e2e,long}.test.ts'],
          isolate,
        },
      },
      {
        resolve,
        ssr,
        test: { name: 'prop', include: under('.prop.test.ts'), exclude, testTimeout: 30_000 },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'pg',
          include: [...under('.pg.test.ts'), ...under('.e2e.test.ts')],
          exclude,
          isolate,
          globalSetup: ['./tools/pg-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // They wait more than they compute. After the others, some of which measure.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      ...(process.env['TEST_LONG'] === '1' ? [long] : []),
      {
        resolve,
        ssr,
        test: {
          name: 'types',
          include: [],
          typecheck: {
            enabled: true,
            only: true,
            checker: 'tsc',
            include: under('.test-d.ts'),
            tsconfig: './tsconfig.json',
          },
        },
      },
    ],
  },
});
