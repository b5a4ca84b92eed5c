import type { RetailRow } from './rows.ts';

export const reasons = [
  'postage',
  'manual adjustment',
  'discount',
  'bank or marketplace fee',
  'sample, voucher or donation',
  'unknown code',
  'stock correction',
  'no description',
  'zero price',
] as const;
export type Reason = (typeof reasons)[number];

/** A row that is trade: so many pieces (always positive) of a product at a price. */
export type Trade = RetailRow;

export type Classified =
  | { readonly kind: 'sale' | 'return'; readonly trade: Trade }
  | { readonly kind: 'skipped'; readonly reason: Reason };

const product = /^\d{5}[A-Z]*$/;
/** Codes of the whole data set that are not products; this week has some of them. */
const specialCodes: Readonly<Record<string, Reason>> = {
  POST: 'postage',
  DOT: 'postage',
  C2: 'postage',
  M: 'manual adjustment',
  B: 'manual adjustment',
  D: 'discount',
  'BANK CHARGES': 'bank or marketplace fee',
  AMAZONFEE: 'bank or marketplace fee',
  S: 'sample, voucher or donation',
  CRUK: 'sample, voucher or donation',
};
const voucher = /^GIFT_/;

/** Says of a row what it is. The first reason to skip it counts. */
export function classify(row: RetailRow): Classified {
  const skipped = (reason: Reason): Classified => ({ kind: 'skipped', reason });
  const { code, invoice, quantity, description, pence } = row;
  if (!product.test(code))
    return skipped(
      specialCodes[code] ?? (voucher.test(code) ? 'sample, voucher or donation' : 'unknown code'),
    );
  const isReturn = invoice.startsWith('C');
  // Goods that were counted, lost or thrown away, booked as a sale of less than nothing.
  if (!isReturn && quantity <= 0) return skipped('stock correction');
  if (description === '') return skipped('no description');
  if (pence <= 0) return skipped('zero price');
  return { kind: isReturn ? 'return' : 'sale', trade: { ...row, quantity: Math.abs(quantity) } };
}
