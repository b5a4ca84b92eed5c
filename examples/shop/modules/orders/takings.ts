import { view } from 'plimsoll';
import { orders } from './contract.ts';

/** What has been paid, by country and day, from nothing but the events. */
export const takings = view('takings', {
  version: 1,
  key: { country: 'text', day: 'text' },
  columns: { orders: 'int', pence: 'bigint' },
  initial: { orders: 0, pence: 0 },
  fold: (on) => [
    on(
      orders.paid,
      ({ country }, { at }) => ({ country, day: at.toISOString().slice(0, 10) }),
      (row, { pence }) => ({ orders: row.orders + 1, pence: row.pence + pence }),
    ),
  ],
});
