import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import express from 'express';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { contract, createApp, module, plan, type App } from '../index.ts';
import { plimsollContext } from './context.ts';
import { plimsollRoutes } from './own-routes.ts';

const small = plan({
  name: 'small',
  modules: [module(contract('small', {}), { owns: { schema: 'small' } })],
  http: { port: 0 },
  expectedPeak: { requestsPerSecond: 1 },
  objectives: { default: { p95Ms: 100, errorRate: 0 } },
});

let server: TestDatabase;
let app: App;
let reference: App;
let http: Server;
let url: string;

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  app = createApp(small, { databaseUrl: server.url, listen: false });
  reference = createApp(small, { databaseUrl: server.url });
  await app.start();
  await reference.start();
  const site = express();
  site.use(plimsollContext({ app }));
  site.get('/own/:id', (_request, response) => void response.json('fine'));
  site.use('/-', plimsollRoutes(app));
  site.use((_request, response) => void response.status(404).json('the 404 of the site'));
  http = site.listen(0, '127.0.0.1');
  await new Promise((resolve) => http.once('listening', resolve));
  url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
});
afterAll(async () => {
  http?.closeAllConnections();
  await new Promise((resolve) => (http === undefined ? resolve(0) : http.close(resolve)));
  await reference?.stop();
  await app?.stop();
  await server?.drop();
});

test('telemetry has the fields of the gateway, and the routes of the site', async () => {
  expect((await fetch(`${url}/own/1`)).status).toBe(200);
  const routes = async (): Promise<unknown> => {
    const told = (await (await fetch(`${url}/-/telemetry?lastMs=60000`)).json()) as Record<string, unknown>;
    return told['http.server.request.duration'];
  };
  await expect.poll(async () => JSON.stringify(await routes())).toContain('/own/:id');
  const mounted = await fetch(`${url}/-/telemetry`);
  const gateway = await fetch(`${reference.url}/-/telemetry`);
  expect(mounted.headers.get('content-type')).toBe(gateway.headers.get('content-type'));
  const fields = async (answer: Response): Promise<string[]> =>
    Object.keys((await answer.json()) as object).toSorted();
  expect(await fields(mounted)).toEqual(await fields(gateway));
});

test('metrics are those of Prometheus, of the same type as in the gateway', async () => {
  const mounted = await fetch(`${url}/-/metrics`);
  expect(mounted.headers.get('content-type')).toBe(
    (await fetch(`${reference.url}/-/metrics`)).headers.get('content-type'),
  );
  expect(await mounted.text()).toMatch(/^plimsoll_tasks\{state="ready"\} 0$/m);
});

test.each(['/-/telemetry', '/-/metrics'])('%s does not exist for who comes through a proxy', async (path) => {
  for (const headers of [{ 'x-forwarded-for': '127.0.0.1' }, { forwarded: 'for=127.0.0.1' }]) {
    expect((await fetch(`${reference.url}${path}`, { headers })).status).toBe(404);
    const answer = await fetch(`${url}${path}`, { headers });
    expect([answer.status, await answer.json()]).toEqual([404, 'the 404 of the site']);
  }
  expect((await fetch(`${url}${path}`, { method: 'POST' })).status).toBe(404);
});

test('an app that does not run is an error of the site, not the end of the process', async () => {
  const site = express();
  site.use('/-', plimsollRoutes(createApp(small, { listen: false })));
  site.use(
    (error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
      response.status(500).json((error as { code?: string }).code);
    },
  );
  const idle = site.listen(0, '127.0.0.1');
  try {
    await new Promise((resolve) => idle.once('listening', resolve));
    const base = `http://127.0.0.1:${(idle.address() as AddressInfo).port}`;
    for (const path of ['/-/telemetry', '/-/metrics'])
      expect(await (await fetch(`${base}${path}`)).json()).toBe('PL_LIFECYCLE');
  } finally {
    idle.closeAllConnections();
    await new Promise((resolve) => idle.close(resolve));
  }
});
