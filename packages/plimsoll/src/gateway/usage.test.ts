import { expect, test } from 'vitest';
import { z } from 'zod';
import { command, contract, query } from '../modules/contract.ts';
import { byClientIp, byPrincipal } from '../rate-limit/client-key.ts';
import { memoryStore } from '../rate-limit/memory-store.ts';
import { createGateway } from './gateway.ts';
import { route } from './route.ts';

const nothing = z.object({});
const accounts = contract('accounts', {
  logIn: command({ input: nothing, output: z.object({ principal: z.string() }) }),
  report: query({ input: nothing, output: nothing }),
});

test('rate limits', async () => {
  // #region rate-limit
  const limited = [
    route('/login', accounts.logIn, {
      rateLimit: { rules: [{ kind: 'rate', name: 'client', limit: 5, perMs: 60_000, key: byClientIp() }] },
    }),
    route('/reports', accounts.report, {
      // By who was authenticated, and counted in the app's database for all processes together.
      rateLimit: {
        rules: [{ kind: 'quota', name: 'user', limit: 100, per: 'day', key: byPrincipal }],
        store: 'database',
        whenStoreFails: 'open',
      },
    }),
  ];
  // #endregion
  const gateway = createGateway({
    scope: {},
    port: 0,
    routes: limited,
    rateLimitDatabase: { ...memoryStore(), shared: true },
    call: () => Promise.resolve({ principal: 'ann' }),
    ready: () => Promise.resolve(),
    authenticate: () => Promise.resolve({ principal: 'ann' }),
  });
  await gateway.start();
  const statuses: number[] = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const body = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
    statuses.push((await fetch(`${gateway.url}/login`, body)).status);
  }
  expect(statuses).toEqual([200, 200, 200, 200, 200, 429]);
  const report = await fetch(`${gateway.url}/reports`);
  expect(report.headers.get('ratelimit')).toMatch(/^"accounts-report\.user";r=99;t=\d+$/);
  await gateway.stop();
});
