import pg from 'pg';
import { insertEvents } from 'plimsoll/outbox';
import type { Child } from './children.ts';
import type { Release } from './modules.ts';
import type { ChildSettings } from './protocol.ts';
import type { Servers } from './servers.ts';

export const faultKinds = [
  'process killed',
  'process frozen',
  'primary restarted',
  'failover',
  'connections cut',
  'backends terminated',
  'long transaction',
  'clock jumped',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface FaultContext {
  readonly servers: Servers;
  readonly children: readonly Child[];
  readonly settingsOf: (child: Child) => ChildSettings;
  readonly release: () => Release;
  readonly random: () => number;
  readonly pause: (ms: number) => Promise<void>;
  /** How long transactions stay open, at most. */
  readonly longMs: number;
}

type Fault = (context: FaultContext) => Promise<void>;

const between = (random: () => number, least: number, most: number): number =>
  Math.round(least + random() * (most - least));

const anyOf = ({ children, random }: FaultContext): Child => {
  const child = children[Math.floor(random() * children.length)];
  if (child === undefined) throw new Error('there is no process');
  return child;
};

/** A transaction that has written an event early and ends late, or is rolled back: others overtake it. */
const longTransaction: Fault = async ({ servers, random, pause, longMs }) => {
  const client = new pg.Client({ connectionString: servers.url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query('begin');
    const event = {
      type: 'soak.nobodyListens',
      version: 1,
      key: 'long',
      correlationId: 'long transaction',
      caller: {},
      payload: {},
    };
    const { text, values } = insertEvents([event]).compile();
    await client.query(text, [...values]);
    await pause(between(random, longMs / 3, longMs));
    // When the server is gone by now, it is as good as rolled back.
    await client.query(random() < 0.5 ? 'commit' : 'rollback').catch(() => undefined);
  } finally {
    await client.end().catch(() => undefined);
  }
};

export const faultsByKind: Readonly<Record<FaultKind, Fault>> = {
  async 'process killed'(context) {
    const child = anyOf(context);
    await child.replace(context.settingsOf(child));
  },
  async 'process frozen'(context) {
    const child = anyOf(context);
    child.signal('SIGSTOP');
    try {
      await context.pause(between(context.random, 500, 4_000));
    } finally {
      child.signal('SIGCONT');
    }
  },
  async 'primary restarted'({ servers, random }) {
    await servers.primary().restart(random() < 0.5 ? 'fast' : 'immediate');
  },
  failover: ({ servers }) => servers.failOver(),
  'connections cut'({ servers }) {
    servers.proxy.cut();
    return Promise.resolve();
  },
  async 'backends terminated'({ servers }) {
    await servers.ask(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where backend_type = 'client backend' and pid <> pg_backend_pid()`,
    );
  },
  'long transaction': longTransaction,
  async 'clock jumped'(context) {
    const child = anyOf(context);
    const ms = (context.random() < 0.5 ? -1 : 1) * between(context.random, 60_000, 7_200_000);
    await child.ask({ do: 'jump', ms });
    await context.pause(between(context.random, 500, 3_000));
    await child.ask({ do: 'jump', ms: 0 });
  },
};
