import { expect, test } from 'vitest';
import { readBankEnvironment, readShopEnvironment } from './env.ts';

test('what is not set or empty has its default', () => {
  expect(readShopEnvironment({ PORT: '', PATH: '/bin' })).toEqual({
    PORT: 3000,
    BANK_URL: 'http://127.0.0.1:4100',
    SMTP_URL: 'smtp://127.0.0.1:4125',
    SHOP_CACHE: 'off',
  });
  expect(readBankEnvironment({ BANK_PORT: '0' })).toEqual({ BANK_PORT: 0 });
});

test('all problems are reported together, with values but without credentials', () => {
  const read = (): unknown =>
    readShopEnvironment({ PORT: 'x', BANK_URL: 'ftp://bank', SMTP_URL: 'http://user:secret@mail' });
  expect(read).toThrow(expect.objectContaining({ code: 'PL_CONFIG' }));
  expect(read).toThrow(/PORT: .*"x".*BANK_URL: .*"ftp:\/\/bank".*SMTP_URL: .*"http:\/\/…@mail"/);
  expect(read).not.toThrow(/secret/);
});
