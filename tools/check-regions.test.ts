import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { checkRegions, writeRegions } from './check-regions.ts';
import { writeTree } from './planted-trees.ts';
import { temporaryFolder } from './temporary-folder.ts';

const testFile = `import { add } from './add.ts';

test('adds', () => {
  // #region add
  if (add(1, 2) === 3) {
    done();
  }
  // #endregion
  // #region second
  add(3, 4);
  // #endregion
  // #region empty
  // #endregion
  // #region twice
  add(1);
  // #endregion
  // #region twice
  add(2);
  // #endregion
});
// #region open
add(5);
`;

const fence = '```';

function block(content: string, region?: string, language = 'ts'): string {
  const comment = region === undefined ? '' : `<!-- region: ${region} -->\n`;
  return `Text before.\n\n${comment}${fence}${language}\n${content}\n${fence}\n\nText after.\n`;
}

const good = block('if (add(1, 2) === 3) {\n  done();\n}', 'src/add.test.ts#add');

function violationsOf(files: Readonly<Record<string, string>>): readonly string[] {
  using tree = temporaryFolder();
  writeTree(
    tree.path,
    new Map(Object.entries({ 'src/add.test.ts': testFile, 'docs/patterns/good.md': good, ...files })),
  );
  return checkRegions(tree.path).violations;
}

test('a block that equals its region, but for the indentation of the test, is no violation', () => {
  expect(violationsOf({})).toEqual([]);
});

test.each<[string, string, string[]]>([
  [
    'a block that differs',
    block('add(1, 3);', 'src/add.test.ts#add'),
    [':4: differs from region add of src/add.test.ts; run with --write'],
  ],
  [
    'a block with other inner indentation',
    block('if (add(1, 2) === 3) {\n    done();\n}', 'src/add.test.ts#add'),
    [':4: differs from region add of src/add.test.ts; run with --write'],
  ],
  [
    'a TypeScript block without region',
    block('add(1, 2);'),
    [':3: no region comment before the TypeScript block'],
  ],
  [
    'a comment that is not right before its block',
    block('add(3, 4);', 'src/add.test.ts#second').replace('-->\n', '-->\n\n'),
    [':3: no code block follows the region comment', ':5: no region comment before the TypeScript block'],
  ],
  [
    'a region that does not exist',
    block('x', 'src/add.test.ts#gone'),
    [':4: src/add.test.ts has no region gone'],
  ],
  ['a file that does not exist', block('x', 'src/gone.test.ts#add'), [':4: there is no src/gone.test.ts']],
  [
    'a file that is not run as a test',
    block('x', 'src/add.ts#add'),
    [':4: src/add.ts is neither a test nor an example'],
  ],
  [
    'a region that is empty',
    block('', 'src/add.test.ts#empty'),
    [':4: region empty of src/add.test.ts is empty'],
  ],
  [
    'a region that is there twice',
    block('add(1);', 'src/add.test.ts#twice'),
    [':4: src/add.test.ts has 2 regions twice'],
  ],
  [
    'a region without an end',
    block('add(5);', 'src/add.test.ts#open'),
    [':4: region open of src/add.test.ts has no end of its own'],
  ],
  [
    'two violations in one page',
    `${block('x')}${block('y', 'src/add.test.ts#second')}`,
    [
      ':3: no region comment before the TypeScript block',
      ':11: differs from region second of src/add.test.ts; run with --write',
    ],
  ],
])('%s is a violation', (_what, page, expected) => {
  expect(violationsOf({ 'docs/patterns/planted.md': page })).toEqual(
    expected.map((violation) => `docs/patterns/planted.md${violation}`),
  );
});

test('other languages, and TypeScript outside the pattern pages, need no region; one that is named must hold', () => {
  expect(violationsOf({ 'docs/patterns/shell.md': block('npm start', undefined, 'sh') })).toEqual([]);
  expect(violationsOf({ 'docs/decisions/sketch.md': block('type Sketch = 1;') })).toEqual([]);
  expect(violationsOf({ 'docs/guides/start.md': block('old();', 'src/add.test.ts#second') })).toEqual([
    'docs/guides/start.md:4: differs from region second of src/add.test.ts; run with --write',
  ]);
});

test('a fence inside a longer fence is text', () => {
  const page = `${fence}\`\`md\n${block('x')}${fence}\`\`\n`;
  expect(violationsOf({ 'docs/patterns/quoted.md': page })).toEqual([]);
});

test('what a merge has left is a violation', () => {
  expect(violationsOf({ 'docs/merged.md': `<<<<<<< HEAD\none\n=======\nother\n>>>>>>> theirs\n` })).toEqual([
    'docs/merged.md:1: both sides of a merge are left',
    'docs/merged.md:5: both sides of a merge are left',
  ]);
});

test('--write brings the blocks up to date, and only those', () => {
  using tree = temporaryFolder();
  const stale = `# Title\n\n${block('old();\nolder();', 'src/add.test.ts#second')}${block('old();', 'src/add.test.ts#add')}${block('npm start', undefined, 'sh')}`;
  writeTree(
    tree.path,
    new Map([
      ['src/add.test.ts', testFile],
      ['docs/patterns/stale.md', stale],
    ]),
  );
  writeRegions(tree.path);
  expect(checkRegions(tree.path)).toEqual({ violations: [], read: '1 pages and 2 regions read' });
  expect(readFileSync(path.join(tree.path, 'docs/patterns/stale.md'), 'utf8')).toBe(
    stale.replace('old();\nolder();', 'add(3, 4);').replace('old();', 'if (add(1, 2) === 3) {\n  done();\n}'),
  );
});

test('a tree without a region is a violation', () => {
  using tree = temporaryFolder();
  expect(checkRegions(tree.path).violations).toEqual([
    'no code block with a region was found in docs to check',
  ]);
});
