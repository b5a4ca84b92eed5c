import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../kernel/clock.ts';
import { standardSignature, stripeSignature, type SignedMessage } from './signature.ts';

const at = 1_700_000_000;
const clock = { ...systemClock, now: () => at * 1_000 };
const secret = `whsec_${Buffer.from('a secret of enough bytes').toString('base64')}`;
const other = `whsec_${Buffer.from('another one, just as long').toString('base64')}`;

describe('Standard Webhooks', () => {
  // The example of the specification's own libraries.
  test('the known message of the specification is its own', () => {
    const known = standardSignature({
      secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
      clock: { ...systemClock, now: () => 1_614_265_330_000 },
    });
    expect(
      known({
        headers: {
          'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
          'webhook-timestamp': '1614265330',
          'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
        },
        body: '{"test": 2432232314}',
      }),
    ).toBe('msg_p5jXN8AQM9LWM0D4loKWxJek');
  });

  const sign = (key: string, id: string, time: number | string, body: string): string =>
    createHmac('sha256', Buffer.from(key.slice(6), 'base64'))
      .update(`${id}.${time}.${body}`)
      .digest('base64');
  const message = (more: Partial<Record<string, string>> = {}, body = '{"a":1}'): SignedMessage => ({
    headers: {
      'webhook-id': 'msg_1',
      'webhook-timestamp': `${at}`,
      'webhook-signature': `v1,${sign(secret, 'msg_1', at, '{"a":1}')}`,
      ...more,
    },
    body,
  });
  const verify = standardSignature({ secrets: [secret], clock });

  test('any of several signatures and any of several secrets will do', () => {
    expect(verify(message())).toBe('msg_1');
    const [first, second] = [sign(other, 'msg_1', at, '{"a":1}'), sign(secret, 'msg_1', at, '{"a":1}')];
    expect(verify(message({ 'webhook-signature': `v1a,x v1,${first} v1,${second}` }))).toBe('msg_1');
    const both = standardSignature({ secrets: [other, secret], clock });
    expect(both(message())).toBe('msg_1');
  });

  test.each([
    ['another body', message({}, '{"a":2}')],
    ['another id', message({ 'webhook-id': 'msg_2' })],
    ['another time', message({ 'webhook-timestamp': `${at + 1}` })],
    [
      'the secret of somebody else',
      message({ 'webhook-signature': `v1,${sign(other, 'msg_1', at, '{"a":1}')}` }),
    ],
    ['another version', message({ 'webhook-signature': `v2,${sign(secret, 'msg_1', at, '{"a":1}')}` })],
    ['an empty signature', message({ 'webhook-signature': 'v1,' })],
    ['no signature', message({ 'webhook-signature': '' })],
    ['no id', message({ 'webhook-id': '' })],
  ])('%s is refused', (_what, forged) => {
    expect(() => verify(forged)).toThrow(expect.objectContaining({ code: 'PL_WEBHOOK_REFUSED' }) as Error);
  });

  test.each([-301, 301, Number.NaN])('%i s away from now is refused, though it is signed', (away) => {
    const time = Number.isNaN(away) ? 'soon' : at + away;
    const old = message({
      'webhook-timestamp': `${time}`,
      'webhook-signature': `v1,${sign(secret, 'msg_1', time, '{"a":1}')}`,
    });
    expect(() => verify(old)).toThrow(/was signed/);
  });
});

describe('Stripe', () => {
  const verify = stripeSignature({ secrets: ['whsec_0123456789abcdef'], clock });
  const body = '{"id":"evt_1"}';
  const sign = (text: string): string =>
    createHmac('sha256', 'whsec_0123456789abcdef').update(`${at}.${text}`).digest('hex');

  test('is verified by its bytes, and named by its id', () => {
    const signature = `t=${at},v0=x,v1=${sign('{}')},v1=${sign(body)}`;
    expect(verify({ headers: { 'stripe-signature': signature }, body: Buffer.from(body) })).toBe('evt_1');
  });

  test.each([`t=${at},v1=${sign('{}')}`, `v1=${sign(body)}`, `t=${at}`, 't', `t=${at},v1`])(
    '%s is refused',
    (signature) => {
      expect(() => verify({ headers: { 'stripe-signature': signature }, body })).toThrow(
        expect.objectContaining({ code: 'PL_WEBHOOK_REFUSED' }) as Error,
      );
    },
  );
});

test('secrets that are none are refused at once', () => {
  expect(() => standardSignature({ secrets: [], toleranceMs: 0 })).toThrow(
    /secrets: is empty(.|\n)*toleranceMs: is 0/,
  );
  expect(() => stripeSignature({ secrets: ['short'] })).toThrow(/secrets\[0\]/);
});
