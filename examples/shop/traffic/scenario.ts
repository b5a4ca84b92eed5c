import type { PlannedRequest, Scenario } from '@plimsoll/cli/load';
import { catalog } from '../modules/catalog/contract.ts';
import { orders } from '../modules/orders/contract.ts';
import { reviews } from '../modules/reviews/contract.ts';
import { readWeek, type Invoice, type Line, type Product } from '../retail/week.ts';
import { gapsBetween } from './arrivals.ts';

/** Choices, where the data is silent: it knows what was bought, not how people browsed. */
const searches = 2;
const ownProductPages = 3;
const popularProductPages = 4;
const orderShare = 0.75;
const reviewShare = 0.2;
const meanVisitMs = 2_000;

type Step = Omit<PlannedRequest, 'afterMs'>;
type Random = () => number;

/**
 * Visits of the week's real customers, one per invoice and in that order, again and again. Everybody searches
 * and looks at the products they are known to have bought and at popular ones; most then order their real
 * basket again, the one of 592 lines too, and whoever sent something back does so again.
 */
export async function createShopScenario(): Promise<Scenario> {
  const { products, orders: bought, returns } = await readWeek();
  const visits = [...bought, ...returns].toSorted(
    (left, right) => left.at.localeCompare(right.at) || left.number.localeCompare(right.number),
  );
  // A product is in here as often as it was bought.
  const popular = bought.flatMap(({ lines }) => lines);
  const plan = planner(products, popular);
  const total = visits.reduce((sum, visit) => sum + expectedRequests(visit), 0);
  return {
    name: 'a week of real trade',
    requestsPerSession: total / visits.length,
    gaps: gapsBetween(visits.map(({ at }) => at)),
    session(index, random) {
      const visit = visits[index % visits.length];
      return visit === undefined ? [] : spread(plan(visit, random), random);
    },
  };
}

const isReturn = ({ number }: Invoice): boolean => number.startsWith('C');

/** Kept equal to what `planner` plans by a test. */
function expectedRequests(visit: Invoice): number {
  const reads = searches + ownProductPages + popularProductPages;
  const ofCustomer = visit.customerId === null ? 0 : 1 + reviewShare;
  return reads + ofCustomer + (isReturn(visit) ? 1 : orderShare);
}

function planner(
  products: ReadonlyMap<string, Product>,
  popular: readonly Line[],
): (visit: Invoice, random: Random) => Step[] {
  const search = ({ sku }: Line, random: Random): Step => {
    const words = products.get(sku)?.description.match(/[A-Za-z]{3,}/g) ?? [sku];
    const text = pick(words, random).toLowerCase();
    return get(catalog.search.id, `/products?text=${encodeURIComponent(text)}`);
  };
  const page = ({ sku }: Line): Step => get(catalog.page.id, `/products/${encodeURIComponent(sku)}`);
  const write = ({ sku }: Line, customerId: number, random: Random): Step => {
    // Most are happy: 5 stars for half of them.
    const stars = 5 - Math.floor(5 * random() ** 2.5);
    const text = `${products.get(sku)?.description ?? sku}: ${stars} of 5`;
    return post(reviews.write.id, `/products/${encodeURIComponent(sku)}/reviews`, {
      customerId,
      stars,
      text,
    });
  };

  return (visit, random) => {
    const { lines, customerId, country } = visit;
    const ask = [
      ...times(searches, () => search(pick(lines, random), random)),
      ...times(ownProductPages, () => page(pick(lines, random))),
      ...times(popularProductPages, () => page(pick(popular, random))),
    ];
    if (customerId !== null) {
      ask.push(get(orders.byCustomer.id, `/customers/${customerId}/orders?limit=10`));
      if (random() < reviewShare) ask.push(write(pick(lines, random), customerId, random));
    }
    const wanted = lines.map(({ sku, quantity }) => ({ sku, quantity }));
    if (isReturn(visit)) {
      // Each visit sends the goods back anew, so each return has an id of its own.
      const returnId = `${visit.number}-${Math.floor(random() * 2 ** 48).toString(36)}`;
      ask.push(post(orders.returnItems.id, '/returns', { returnId, customerId, lines: wanted }));
    } else if (random() < orderShare) {
      ask.push(post(orders.place.id, '/orders', { customerId, country, lines: wanted }));
    }
    return ask;
  };
}

/** Gives the steps times, with pauses between them that differ. */
function spread(steps: readonly Step[], random: Random): PlannedRequest[] {
  const pauseMs = meanVisitMs / steps.length;
  let afterMs = 0;
  return steps.map((step, index) => {
    if (index > 0) afterMs += pauseMs * (0.5 + random());
    return { ...step, afterMs };
  });
}

const get = (operation: string, path: string): Step => ({ operation, method: 'GET', path });
const post = (operation: string, path: string, body: object): Step => ({
  operation,
  method: 'POST',
  path,
  body: JSON.stringify(body),
});

const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

function pick<T>(from: readonly T[], random: Random): T {
  const picked = from[Math.floor(random() * from.length)];
  if (picked === undefined) throw new RangeError('nothing to pick from');
  return picked;
}
