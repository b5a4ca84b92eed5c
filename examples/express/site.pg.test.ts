import type { AddressInfo } from 'node:net';
import { expect, inject, test } from 'vitest';
import { createTestDatabase } from '@plimsoll/embedded';
import { createGreetings, createSite } from './site.ts';

test('old routes and mounted ones carry the correlation id; declared errors are problems', async () => {
  const server = await createTestDatabase(inject('cluster'));
  const app = createGreetings(server.url);
  await app.start();
  const http = createSite(app).listen(0, '127.0.0.1');
  try {
    await new Promise((resolve) => http.once('listening', resolve));
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const headers = {
      'x-correlation-id': 'visit-1',
      'content-type': 'application/json',
    };
    const order = (name: string): Promise<Response> =>
      fetch(`${url}/api/greetings`, {
        method: 'POST',
        headers: { ...headers, 'idempotency-key': `for ${name}` },
        body: JSON.stringify({ name }),
      });

    expect(await (await fetch(`${url}/old`, { headers })).json()).toEqual({
      text: 'hello old',
      correlationId: 'visit-1',
    });
    expect(await (await fetch(`${url}/api/greetings/grace`)).json()).toEqual({ text: 'hello grace' });
    const ordered = await order('grace');
    expect([ordered.status, await ordered.json()]).toEqual([201, { name: 'grace', key: 'for grace' }]);
    const taken = await order('ada');
    expect(taken.status).toBe(409);
    expect(await taken.json()).toMatchObject({
      code: 'Taken',
      data: { name: 'ada' },
      correlationId: 'visit-1',
    });
  } finally {
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
    await app.stop();
    await server.drop();
  }
});
