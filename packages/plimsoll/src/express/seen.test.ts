import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import express, { type Express } from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { route } from '../gateway/route.ts';
import { currentContext } from '../kernel/context.ts';
import { seenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { command, contract } from '../modules/contract.ts';
import type { ContextOptions } from './arrival.ts';
import { plimsollContext } from './context.ts';
import { mountRoutes } from './mount-routes.ts';

const shop = contract('shop', { buy: command({ input: z.object({}), output: z.unknown() }) });
const secret = 'a secret of at least thirty-two characters';
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function serve(options: ContextOptions, add: (site: Express) => void): Promise<string> {
  const site = express();
  site.set('trust proxy', 'loopback');
  site.use(plimsollContext(options));
  add(site);
  const server = site.listen(0, '127.0.0.1');
  servers.push(server);
  await new Promise((resolve) => server.once('listening', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const seenNow = (): Seen => currentContext()?.seen ?? new Seen();
function made(at: bigint, tokens = seenTokens()): string {
  const seen = new Seen();
  seen.noteWritten('db', '1.a', at);
  return tokens.write(seen) ?? '';
}
const written = (answer: Response, tokens = seenTokens()): bigint | undefined =>
  tokens.read(answer.headers.get('plimsoll-seen') ?? '')?.mark('db')?.written;

describe('a route of the site', () => {
  const own = (site: Express): void => {
    site.get('/silent', (_request, response) => void response.json(String(seenNow().mark('db')?.written)));
    site.get('/write', (_request, response) => {
      seenNow().noteWritten('db', '1.a', 7n);
      response.set('cache-control', 'public, max-age=60').cookie('own', '1').json('fine');
    });
    site.get('/kept', (_request, response) => {
      if (_request.query['write'] !== undefined) seenNow().noteWritten('db', '1.a', 7n);
      response.set({ 'cdn-cache-control': 'max-age=60', 'surrogate-control': 'max-age=60' });
      response.set({ 'surrogate-key': 't', 'cache-tag': 't' }).json('fine');
    });
    site.get('/head', (_request, response) => {
      seenNow().noteWritten('db', '1.a', 7n);
      response.writeHead(201, { 'cache-control': 'no-store', 'x-own': '1' }).end('fine');
    });
  };

  test('that is kept by shared caches is not where it has a token: nothing is said to them', async () => {
    const url = await serve({}, own);
    const fields = ['cdn-cache-control', 'surrogate-control', 'surrogate-key', 'cache-tag'];
    const told = async (path: string, headers: Record<string, string> = {}): Promise<number> => {
      const answer = await fetch(url + path, { headers });
      return fields.filter((name) => answer.headers.has(name)).length;
    };
    expect(await told('/kept')).toBe(4);
    expect(await told('/kept?write')).toBe(0);
    expect(await told('/kept', { 'plimsoll-seen': made(5n) })).toBe(0);
  });

  test('takes a token, and answers one where something was added', async () => {
    const url = await serve({}, own);
    const silent = await fetch(`${url}/silent`);
    expect([silent.headers.get('plimsoll-seen'), silent.headers.get('cache-control')]).toEqual([null, null]);
    const taken = await fetch(`${url}/silent`, { headers: { 'plimsoll-seen': made(5n) } });
    expect([await taken.json(), taken.headers.get('cache-control')]).toEqual(['5', 'private, no-cache']);
    const wrote = await fetch(`${url}/write`, { headers: { 'plimsoll-seen': made(5n) } });
    expect([written(wrote), wrote.headers.get('cache-control')]).toEqual([7n, 'private, no-cache']);
    expect(wrote.headers.getSetCookie()).toEqual([expect.stringContaining('own=1')]);
  });

  test('keeps the headers that it gives with the status', async () => {
    const answer = await fetch(`${await serve({}, own)}/head`);
    expect([answer.status, written(answer)]).toEqual([201, 7n]);
    expect([answer.headers.get('cache-control'), answer.headers.get('x-own')]).toEqual(['no-store', '1']);
  });

  test('has the cookie and the seal of its options', async () => {
    const tokens = seenTokens(secret);
    const url = await serve({ seen: { secret, cookie: true } }, own);
    const answer = await fetch(`${url}/write`, {
      headers: { 'plimsoll-seen': made(9n), 'x-forwarded-proto': 'https' },
    });
    expect(written(answer, tokens)).toBe(7n);
    expect(answer.headers.getSetCookie()).toEqual([
      expect.stringContaining('own=1'),
      expect.stringMatching(
        /^__Host-plimsoll-seen=[\w-]+; Max-Age=60; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
      ),
    ]);
  });

  test('has none where the options say so, and no options that are not valid', async () => {
    const answer = await fetch(`${await serve({ seen: false }, own)}/write`);
    expect(answer.headers.get('plimsoll-seen')).toBeNull();
    expect(() => plimsollContext({ seen: { secret: 'short' } })).toThrow(/seen.secret/);
  });
});

test('a mounted route waits for the positions that were put off', async () => {
  const settle = (seen: Seen): Promise<void> => {
    seen.noteWritten('db', '1.a', 8n);
    return Promise.resolve();
  };
  const call = (): Promise<unknown> => {
    seenNow().noteUnknown('db');
    return Promise.resolve('fine');
  };
  const url = await serve({ app: { database: { scope: {}, settle } } }, (site) =>
    mountRoutes({ call }, site, { routes: [route('/buy', shop.buy)] }),
  );
  const answer = await fetch(`${url}/buy`, { method: 'POST' });
  expect([await answer.json(), written(answer)]).toEqual(['fine', 8n]);
  expect(
    seenTokens()
      .read(answer.headers.get('plimsoll-seen') ?? '')
      ?.isUnknown('db'),
  ).toBe(false);
});
