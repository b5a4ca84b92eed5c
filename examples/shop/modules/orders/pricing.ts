export interface Line {
  readonly sku: string;
  readonly quantity: number;
}

export interface PricedLine extends Line {
  /** Of one piece. */
  readonly pence: number;
}

export type Pricing =
  | { readonly ok: true; readonly lines: readonly PricedLine[]; readonly pence: number }
  | { readonly ok: false; readonly unknown: readonly string[] };

/** Each sku once: what the catalogue is asked for. */
export const skusOf = (lines: readonly Line[]): string[] => [...new Set(lines.map(({ sku }) => sku))];

export function priceLines(
  lines: readonly Line[],
  products: readonly { readonly sku: string; readonly pence: number }[],
): Pricing {
  const prices = new Map(products.map(({ sku, pence }) => [sku, pence]));
  const unknown = new Set<string>();
  const priced: PricedLine[] = [];
  let total = 0;
  for (const { sku, quantity } of lines) {
    const pence = prices.get(sku);
    if (pence === undefined) unknown.add(sku);
    else {
      priced.push({ sku, quantity, pence });
      total += quantity * pence;
    }
  }
  return unknown.size > 0 ? { ok: false, unknown: [...unknown] } : { ok: true, lines: priced, pence: total };
}
