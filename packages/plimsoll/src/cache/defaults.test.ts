import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { cacheDefaults } from './options.ts';
import { cachePolicyDefaults } from './policy.ts';
import { postgresCacheStoreDefaults } from './postgres-store.ts';
import { invalidationRelayDefaults } from './relay.ts';
import { sequencedBusDefaults } from './sequenced-bus.ts';

test('the page lists exactly the defaults there are', () => {
  const page = readFileSync(new URL('../../../../docs/patterns/cache.md', import.meta.url), 'utf8');
  const section = page.split('\n## ').find((part) => part.startsWith('Defaults')) ?? '';
  const rows = [...section.matchAll(/^\| `([\w.]+)` \| ([\d.]+|Infinity) \|/gm)].map(([, name, value]) => [
    name,
    value,
  ]);
  const { maxEntries, maxBytes, ...others } = cacheDefaults;
  const tier = { 'process.maxEntries': maxEntries, 'process.maxBytes': maxBytes };
  const relay = Object.fromEntries(
    Object.entries(invalidationRelayDefaults).map(([name, value]) => [`relay.${name}`, value]),
  );
  const of = { ...sequencedBusDefaults, ...relay, ...postgresCacheStoreDefaults };
  const defaults = { ...cachePolicyDefaults, ...tier, ...others, ...of };
  expect(rows).toEqual(Object.entries(defaults).map(([name, value]) => [name, String(value)]));
});
