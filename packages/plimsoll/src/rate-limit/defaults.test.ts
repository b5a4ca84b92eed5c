import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { memoryStoreDefaults } from './memory-store.ts';
import { rateLimitDefaults } from './rate-limit.ts';
import { waitingLimitDefaults } from './waiting-limit.ts';

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/rate-limit.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, option, value]) => [option, value]);
  const defaults = { ...rateLimitDefaults, ...memoryStoreDefaults, ...waitingLimitDefaults };
  expect(rows).toEqual(Object.entries(defaults).map(([option, value]) => [option, String(value)]));
});
