import { describe, expect, test } from 'vitest';
import { addressKey, byApiKey, byClientIp } from './client-key.ts';

describe('the key of an address', () => {
  test.for([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:c000:207', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::ffff', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['', 'unknown'],
    ['not an address', 'unknown'],
  ] as const)('%s is %s', ([address, key]) => {
    expect(addressKey(address)).toBe(key);
  });
});

describe('the client behind proxies', () => {
  const from = (
    remoteAddress: string,
    forwarded?: string | string[],
    ip?: string,
  ): Parameters<ReturnType<typeof byClientIp>>[0] => ({
    headers: { 'x-forwarded-for': forwarded },
    socket: { remoteAddress },
    ip,
  });

  test('without trustProxy the header is not read, and the framework knows', () => {
    const key = byClientIp();
    expect(key(from('198.51.100.1', '203.0.113.9'))).toBe('198.51.100.1');
    expect(key(from('10.0.0.1', '203.0.113.9', '203.0.113.9'))).toBe('203.0.113.9');
    expect(key({ headers: {}, socket: null })).toBe('unknown');
  });

  test.for([
    ['not from a proxy: what it says is not believed', '198.51.100.1', '203.0.113.9', '198.51.100.1'],
    ['one proxy', '10.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['the client has written the first ones itself', '10.0.0.1', '1.1.1.1, 203.0.113.9', '203.0.113.9'],
    ['two proxies', '10.0.0.1', '1.1.1.1, 203.0.113.9, 10.1.2.3', '203.0.113.9'],
    ['only proxies', '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['nonsense ends the chain', '10.0.0.1', '203.0.113.9, evil', '10.0.0.1'],
    ['with ports', '10.0.0.1', '[2001:db8:1:2::9]:4711', '2001:db8:1:2::/64'],
    ['with a port, IPv4', '10.0.0.1', '203.0.113.9:4711', '203.0.113.9'],
    ['a proxy by its mapped address', '::ffff:10.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['a proxy of IPv6', 'fd00::1', '203.0.113.9', '203.0.113.9'],
    ['no header', '10.0.0.1', undefined, '10.0.0.1'],
  ] as const)('%s', ([, remote, forwarded, client]) => {
    expect(byClientIp({ trustProxy: ['10.0.0.0/8', 'fd00::1'] })(from(remote, forwarded))).toBe(client);
  });

  test('what is no address or network is told', () => {
    expect(() =>
      byClientIp({ trustProxy: ['10.0.0.0/8', 'everyone', '10.0.0.0/33', '::/129', '10.0.0.0/'] }),
    ).toThrow(/trustProxy\[1\].*\n.*trustProxy\[2\].*\n.*trustProxy\[3\].*\n.*trustProxy\[4\]/);
  });
});

test('an API key is hashed, and a request without one has none', () => {
  const key = byApiKey('X-Key');
  expect(key({ headers: { 'x-key': 'secret' } })).toMatch(/^[\w-]{43}$/);
  expect(key({ headers: { 'x-key': 'secret' } })).not.toBe(key({ headers: { 'x-key': 'other' } }));
  expect(key({ headers: {} })).toBeUndefined();
  expect(key({ headers: { 'x-key': '' } })).toBeUndefined();
});
