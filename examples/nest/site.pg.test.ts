import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';

let server: TestDatabase;
beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
});
afterAll(async () => {
  await server?.drop();
});

/** A site in a process of its own, under plain Node. */
function run(...args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ['--conditions=plimsoll:source', ...args], {
    cwd: import.meta.dirname,
    env: { ...process.env, DATABASE_URL: server.url, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

const order = (url: string): Promise<Response> =>
  fetch(`${url}/greetings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': 'k1' },
    body: '{"name":"grace"}',
  });

test('the site runs under plain Node, and a signal stops it', async () => {
  const child = run('site.ts');
  const ended = once(child, 'exit');
  for await (const url of createInterface({ input: child.stdout! })) {
    const ordered = await order(url);
    expect([ordered.status, await ordered.json()]).toEqual([201, { name: 'grace', key: 'k1' }]);
    child.kill('SIGTERM');
  }
  expect(await ended).toEqual([null, 'SIGTERM']);
});

test('a closed site leaves nothing that keeps the process', async () => {
  const child = run(
    '--input-type=module',
    '--eval',
    `import { createSite } from './site.ts';
    const site = await createSite(process.env.DATABASE_URL);
    await site.listen(0, '127.0.0.1');
    await (await fetch(await site.getUrl() + '/nowhere')).text();
    await site.close();
    console.log('closed');`,
  );
  expect(await once(child, 'exit')).toEqual([0, null]);
});
