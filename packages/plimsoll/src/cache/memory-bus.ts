import { laterMark, noMark, type Mark } from './position.ts';
import type { BusConnection, BusMessage, BusOptions, InvalidationBus } from './bus.ts';

/** Between caches of one process that are given it: each hears at once. For tests. */
export function memoryBus(): InvalidationBus {
  const listening = new Set<BusOptions>();
  const floors = new Map<string, Mark>();
  return {
    open(options): BusConnection {
      return {
        silentMs: 0,
        async start() {
          listening.add(options);
          options.onTrust(true, floors.get(options.name));
        },
        async stop() {
          if (listening.delete(options)) options.onTrust(false);
        },
        catchUp: () => Promise.resolve(listening.has(options)),
        async publish(message: BusMessage) {
          floors.set(options.name, laterMark(floors.get(options.name) ?? noMark, message.floor));
          for (const { name, onMessage } of listening) if (name === options.name) onMessage(message);
        },
      };
    },
  };
}
