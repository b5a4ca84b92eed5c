import { command, contract, event, query } from 'plimsoll';
import { z } from 'zod';

const orderId = z.int().positive();
const customerId = z.int().positive();
const line = z.object({ sku: z.string().min(1).max(20), quantity: z.int().min(1).max(100_000) });
const lines = z.array(line).min(1).max(1000);
const country = z.string().min(1).max(60);
const status = z.enum(['placed', 'reserved', 'paid', 'shipped', 'rejected', 'declined']);
const pence = z.int().nonnegative();
/** Name and address, where the customer gave one; the shop itself keeps none. */
const deliverTo = z.string().min(1).max(200).optional();
/** What every step of an order needs to know; `customerId` is null for a guest. */
const facts = z.object({ orderId, customerId: customerId.nullable(), country, pence });
/** What the checkout starts from. */
export const placedOrder = facts.extend({ lines, deliverTo });
/** Whose data what is known of an order is; a guest is a person for one order. */
export const personOf = (order: { readonly orderId: number; readonly customerId: number | null }): string =>
  order.customerId === null ? `guest-${order.orderId}` : `customer-${order.customerId}`;
/** Where an order may go, with what is known by then. */
const move = z.discriminatedUnion('to', [
  facts.extend({ to: z.literal('reserved') }),
  facts.extend({ to: z.literal('paid') }),
  facts.extend({ to: z.literal('shipped'), tracking: z.string() }),
  facts.extend({ to: z.literal('rejected'), missing: z.array(z.string()) }),
  facts.extend({ to: z.literal('declined'), reason: z.string() }),
]);
const key = (payload: { readonly orderId: number }): string => String(payload.orderId);
const summary = z.object({ orderId, status, placedAt: z.iso.datetime(), pence });

export const orders = contract('orders', {
  place: command({
    input: z.object({ customerId: customerId.nullable(), country, deliverTo, lines }),
    output: z.object({ orderId, pence }),
    errors: { UnknownProduct: z.object({ skus: z.array(z.string()) }) },
  }),
  /** One move of an order, and its event; an order that is past it stays as it is. For the checkout. */
  advance: command({ input: move }),
  /**
   * Goods sent back. `returnId` is chosen by the caller: the same one again changes nothing and answers the
   * same. The customer's word is enough: goods may have been bought before the shop's records begin.
   */
  returnItems: command({
    input: z.object({ returnId: z.string().min(1).max(40), customerId: customerId.nullable(), lines }),
    output: z.object({ returnId: z.string(), pence }),
    errors: { UnknownProduct: z.object({ skus: z.array(z.string()) }) },
  }),
  /** Newest first. */
  byCustomer: query({
    input: z.object({
      customerId: z.coerce.number().int().positive(),
      limit: z.coerce.number().int().min(1).max(50).default(20),
    }),
    output: z.array(summary),
  }),
  byId: query({
    input: z.object({ orderId: z.coerce.number().int().positive() }),
    output: summary
      .extend({
        customerId: customerId.nullable(),
        country,
        tracking: z.string().nullable(),
        lines: z.array(line.extend({ pence })),
      })
      .nullable(),
  }),
  /** What has been paid in a country, the newest day first. */
  takings: query({
    input: z.object({ country }),
    output: z.array(z.object({ day: z.iso.date(), orders: z.int(), pence })),
  }),
  placed: event({
    payload: placedOrder,
    key,
    personal: { subject: personOf, erase: ({ deliverTo: _gone, ...order }) => order },
  }),
  reserved: event({ payload: facts, key }),
  paid: event({ payload: facts, key }),
  shipped: event({ payload: facts.extend({ tracking: z.string() }), key }),
  /** Out of stock. */
  rejected: event({ payload: facts.extend({ missing: z.array(z.string()) }), key }),
  /** The bank said no, or somebody stopped the checkout. */
  declined: event({ payload: facts.extend({ reason: z.string() }), key }),
});
export type Move = z.output<typeof move>;
