import type pg from 'pg';

/** The `n`th event of a key. */
export interface Happened {
  readonly key: string;
  readonly n: number;
}

/** What reads, until it is told to stop. */
export interface Reading {
  stop(): Promise<void>;
}

/** A way to get events from the transactions that write them to whoever reads them. */
export interface Strategy {
  readonly name: string;
  /** How it works, and who does so. */
  readonly setting: string;
  prepare(client: pg.ClientBase, url: string): Promise<void>;
  /** Within the transaction of the client. */
  emit(client: pg.ClientBase, event: Happened): Promise<unknown>;
  /** Tells of events in the order in which they are read. */
  read(url: string, deliver: (events: readonly Happened[]) => void): Promise<Reading>;
}

/** Between two looks, for every strategy the same. */
export const pollMs = 5;

/** Looks again and again until it is stopped; at once where there was something. */
export function polling(look: () => Promise<boolean>): Reading {
  let stopped = false;
  const running = (async () => {
    while (!stopped) if (!(await look())) await new Promise((resolve) => setTimeout(resolve, pollMs));
  })();
  return {
    async stop() {
      stopped = true;
      await running;
    },
  };
}
