import { startCluster } from '@plimsoll/embedded';
import { startChild } from './child.ts';

/** What a request does; it goes to the server's process as JSON. */
export type Work =
  | { readonly kind: 'cpu'; readonly busyMs: number }
  | { readonly kind: 'database'; readonly url: string; readonly connections: number }
  | { readonly kind: 'downstream'; readonly origin: string };

export interface Workload {
  readonly name: string;
  readonly setting: string;
  /** Calls at once that find the capacity of the unprotected server. */
  readonly callers: number;
  /** Goodput that the shedder should keep above capacity, in percent of it. */
  readonly targetPercent: number;
  /** Makes what the cells share. */
  open(): Promise<OpenWorkload>;
}

export interface OpenWorkload {
  /** With what one cell needs anew, since a queue outlives its callers. */
  withWork<T>(use: (work: Work) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const busyMs = 10;
const connections = 4;
const nothing = async (): Promise<void> => {};

export const workloads: readonly Workload[] = [
  {
    name: 'CPU-bound',
    setting: `busy for ${busyMs} ms by the clock, so that a neighbour on the machine hardly changes the capacity`,
    callers: 4,
    targetPercent: 80,
    async open() {
      const work: Work = { kind: 'cpu', busyMs };
      return { withWork: (use) => use(work), close: nothing };
    },
  },
  {
    name: 'database-bound',
    setting: `a pg pool of ${connections}, and a query that reads a row and takes 20 to 60 ms, evenly spread`,
    callers: 12,
    targetPercent: 90,
    async open() {
      const cluster = await startCluster({ replicas: 0 });
      const work: Work = { kind: 'database', url: cluster.primary.url, connections };
      return { withWork: (use) => use(work), close: () => cluster.stop() };
    },
  },
  {
    name: 'downstream-bound',
    setting:
      'an HTTP server in another process, with five workers of 50 ms each and a queue first in, first out',
    callers: 12,
    targetPercent: 90,
    async open() {
      return {
        async withWork(use) {
          const server = await startChild('downstream.ts', {});
          try {
            return await use({ kind: 'downstream', origin: server.origin });
          } finally {
            await server.stop();
          }
        },
        close: nothing,
      };
    },
  },
];
