import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { httpCachePolicyDefaults } from './policy.ts';
import { purgeRequestDefaults } from './purge-requests.ts';

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/http-cache.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, name, value]) => [name, value]);
  const defaults = { ...httpCachePolicyDefaults, ...purgeRequestDefaults };
  expect(rows).toEqual(Object.entries(defaults).map(([name, value]) => [name, String(value)]));
});
