import path from 'node:path';
import { expect, test } from 'vitest';
import { checkExports } from './check-exports.ts';
import { listFixtures, plant } from './planted-trees.ts';
import { temporaryFolder } from './temporary-folder.ts';

const fixtures = path.join(import.meta.dirname, 'fixtures/exports');

test.each(listFixtures(fixtures))('%s: exactly its planted violation is reported', (name) => {
  using tree = plant(fixtures, name);
  expect(checkExports(tree.path).violations).toEqual(tree.expected);
});

test('the clean tree is read whole', () => {
  using tree = plant(fixtures, 'clean');
  expect(checkExports(tree.path).read).toBe('5 exports, 5 index.ts and 3 pages read');
});

test('an empty tree is a violation', () => {
  using tree = temporaryFolder();
  expect(checkExports(tree.path).violations).toEqual([
    'no index.ts behind an export was found to check',
    'no docs page was found in docs/patterns to check',
  ]);
});
