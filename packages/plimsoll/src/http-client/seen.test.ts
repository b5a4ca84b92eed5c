import { expect, test } from 'vitest';
import { createContext, runInContext } from '../kernel/context.ts';
import { seenTokens } from '../kernel/seen-token.ts';
import { Seen } from '../kernel/seen.ts';
import { serve } from './fixtures/servers.ts';
import { createHttpClient, type HttpClientOptions } from './index.ts';

const secret = 'a secret of at least thirty-two characters';

/** One request from a context that has written at 5, to a server that answers `status` and writes at 9. */
async function exchange(
  seen: HttpClientOptions['seen'],
  tokens = seenTokens(),
  status = 200,
): Promise<{ sent: string | undefined; written: bigint | undefined; other: bigint | undefined }> {
  let sent: string | undefined;
  const theirs = new Seen();
  theirs.noteWritten('other', '1.a', 9n);
  await using server = await serve((request, response) => {
    sent = request.headers['plimsoll-seen'] as string | undefined;
    response.writeHead(status, { 'plimsoll-seen': tokens.write(theirs) }).end();
  });
  await using client = createHttpClient({
    name: 'other',
    origin: server.origin,
    ...(seen === undefined ? {} : { seen }),
    policy: { retry: false },
  });
  const context = createContext();
  context.seen.noteWritten('db', '1.a', 5n);
  await runInContext(context, () => client.request('GET', '/')).catch(() => undefined);
  return {
    sent,
    written: tokens.read(sent ?? '')?.mark('db')?.written,
    other: context.seen.mark('other')?.written,
  };
}

test('what the request has seen goes only to a server that is to know, and nothing of others is taken', async () => {
  expect(await exchange(undefined)).toEqual({ sent: undefined, written: undefined, other: undefined });
  expect(await exchange(false)).toEqual({ sent: undefined, written: undefined, other: undefined });
});

test('it arrives, and what comes back joins it, from a failure too', async () => {
  expect(await exchange(true)).toMatchObject({ written: 5n, other: 9n });
  expect(await exchange(true, seenTokens(), 500)).toMatchObject({ written: 5n, other: 9n });
});

test('with a secret it is sealed, and only what is sealed with it counts', async () => {
  expect(await exchange({ secret }, seenTokens(secret))).toMatchObject({ written: 5n, other: 9n });
  expect(await exchange({ secret })).toMatchObject({ written: undefined, other: undefined });
  expect(() => createHttpClient({ name: 'x', origin: 'http://x', seen: { secret: 'short' } })).toThrow(
    /seen.secret: is too short/,
  );
});
