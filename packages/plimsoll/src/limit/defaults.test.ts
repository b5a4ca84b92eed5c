import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { limitDefaults } from './options.ts';

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/limit.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, option, value]) => [
    option,
    value,
  ]);
  expect(rows).toEqual(Object.entries(limitDefaults).map(([option, value]) => [option, String(value)]));
});
