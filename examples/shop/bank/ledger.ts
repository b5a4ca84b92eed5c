import { createHash } from 'node:crypto';

export interface Ask {
  readonly kind: 'charge' | 'refund';
  readonly key: string;
  readonly pence: number;
}

export interface Entry extends Ask {
  readonly id: string;
  readonly outcome: 'accepted' | 'declined';
  /** How often the bank was asked with this key, refused asks left out. */
  asks: number;
}

export interface Ledger {
  /** The one entry of the key; undefined when the key was used for something else. */
  record(ask: Ask): Entry | undefined;
  entries(): Entry[];
}

/** One entry per key, kept in memory as long as the bank runs. */
export function createLedger(): Ledger {
  const byKey = new Map<string, Entry>();
  return {
    record(ask) {
      let entry = byKey.get(ask.key);
      if (entry === undefined) {
        const outcome = ask.kind === 'charge' && isDeclined(ask.key) ? 'declined' : 'accepted';
        entry = { ...ask, id: `bank-${digest(ask.key).toString('hex', 0, 8)}`, outcome, asks: 0 };
        byKey.set(ask.key, entry);
      }
      if (entry.kind !== ask.kind || entry.pence !== ask.pence) return undefined;
      entry.asks += 1;
      return entry;
    },
    entries: () => [...byKey.values()],
  };
}

/** One key in a hundred, always the same ones. */
export const isDeclined = (key: string): boolean => unitOf(key) < 0.01;

/** A number in [0, 1) that depends on the text only, so that the bank's chances can be repeated. */
export const unitOf = (text: string): number => digest(text).readUInt32BE(0) / 2 ** 32;

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
