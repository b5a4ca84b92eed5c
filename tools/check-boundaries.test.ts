import path from 'node:path';
import { expect, test } from 'vitest';
import { checkBoundaries } from './check-boundaries.ts';
import { listFixtures, plant, writeTree } from './planted-trees.ts';
import { temporaryFolder } from './temporary-folder.ts';

const fixtures = path.join(import.meta.dirname, 'fixtures/boundaries');

/** The text of a syntax error is the parser's own. */
const withoutParserText = (violation: string): string => violation.replace(/(cannot be parsed): .*/s, '$1');

test.each(listFixtures(fixtures))('%s: exactly its planted violation is reported', (name) => {
  using tree = plant(fixtures, name);
  const { violations } = checkBoundaries(tree.path);
  expect(violations.map(withoutParserText).toSorted()).toEqual(tree.expected.toSorted());
});

test('the clean tree is read whole', () => {
  using tree = plant(fixtures, 'clean');
  expect(checkBoundaries(tree.path).read).toBe('22 files and 32 imports read');
});

test('an empty tree is a violation', () => {
  using tree = temporaryFolder();
  writeTree(
    tree.path,
    new Map([
      ['package.json', '{}'],
      ['packages/plimsoll/package.json', '{ "name": "plimsoll" }'],
      ['packages/plimsoll/dist/index.ts', "import 'node:fs';"],
      ['examples/shop/package.json', '{}'],
    ]),
  );
  expect(checkBoundaries(tree.path).violations).toEqual([
    'packages/plimsoll: no .ts file was found to check',
    'examples/shop: no .ts file was found to check',
    'no import was found to check',
  ]);
});
