import type { Replica } from '@plimsoll/embedded';
import { note, type databaseFaults, type Fault, type FaultContext } from './faults.ts';
import { signalIfThere, signalTree } from './servers.ts';

const between = (random: () => number, least: number, most: number): number =>
  Math.round(least + random() * (most - least));

const anyStandby = ({ servers, random }: FaultContext): Replica => servers.standbys()[random() < 0.5 ? 0 : 1];

/** A replica may cancel what it is asked because of replay; a server that was just started may refuse at first. */
async function insist<T>(task: () => Promise<T>, tries = 20): Promise<T> {
  for (;;) {
    try {
      return await task();
    } catch (error) {
      tries -= 1;
      if (tries === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const replayPaused: Fault = async (context) => {
  const standby = anyStandby(context);
  await insist(() => standby.pause());
  try {
    await context.pause(between(context.random, 500, 1_500));
  } finally {
    await insist(() => standby.resume());
  }
};

const replayDelayed: Fault = async (context) => {
  const { servers, random } = context;
  const standbys = random() < 0.5 ? servers.standbys() : [anyStandby(context)];
  const delayMs = between(random, 100, 1_500);
  await Promise.all(standbys.map((standby) => insist(() => standby.lag(delayMs))));
  try {
    await context.pause(between(random, 800, 1_800));
  } finally {
    await Promise.all(standbys.map((standby) => insist(() => standby.lag(0))));
  }
};

const position = 'select pg_last_wal_replay_lsn() - $1::pg_lsn as bytes';

/** What it had replayed late is delayed when it comes back, so that it shows less than before. */
const restartedWithLess: Fault = async (context) => {
  const { servers } = context;
  const standby = anyStandby(context);
  const before = await insist(() =>
    servers.ask<{ at: string }>(standby, 'select pg_last_wal_replay_lsn()::text as at'),
  );
  await insist(() => standby.lag(60_000));
  try {
    await standby.kill();
    await standby.restart();
    const after = await insist(() => servers.ask<{ bytes: string }>(standby, position, [before[0]?.at]));
    if (Number(after[0]?.bytes) < 0) note(context, 'positions that went back');
    await context.pause(1_000);
  } finally {
    if (!standby.running) await standby.restart();
    await insist(() => standby.lag(0));
  }
};

const backendsTerminated: Fault = async (context) => {
  const { servers, random } = context;
  const server = servers.all[Math.floor(random() * servers.all.length)] ?? servers.primary;
  const ended = await insist(() =>
    servers.ask<{ n: number }>(
      server,
      `select count(*) filter (where pg_terminate_backend(pid))::int as n from pg_stat_activity
       where backend_type = 'client backend' and pid <> pg_backend_pid()`,
    ),
  );
  note(context, 'backends terminated', ended[0]?.n ?? 0);
};

const primaryRestarted: Fault = async ({ servers, random }) => {
  await servers.primary.restart(random() < 0.5 ? 'fast' : 'immediate');
};

/** One standby misses the end of the log, and becomes the primary; the other one stays with the lost history a while. */
const promoted: Fault = async (context) => {
  const { servers, checkers, random } = context;
  const old = servers.primary;
  const [a, b] = servers.standbys();
  const [next, zombie] = random() < 0.5 ? [a, b] : [b, a];
  await next.kill();
  // What is committed from now on is lost; the other standby has it.
  await context.pause(between(random, 200, 500));
  await insist(() => zombie.caughtUp(), 3);
  const wrote = await servers.ask<KeyVersion>(old, versions);
  await old.kill();
  await next.restart();
  await next.promote();
  const left = await insist(() => servers.ask<KeyVersion>(next, versions));
  const timeline = await servers.ask<{ at: number }>(
    next,
    `select ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int as at`,
  );
  const survivors = Object.fromEntries(left.map(({ key, version }) => [key, version]));
  // Before anybody can write there.
  for (const checker of checkers) checker.lose({ history: timeline[0]?.at ?? 0, survivors });
  note(
    context,
    'commits lost',
    wrote.reduce((sum, { key, version }) => sum + Math.max(0, version - (survivors[key] ?? 0)), 0),
  );
  servers.primary = next;
  servers.proxy.pointTo(next.port);
  await context.pause(between(random, 500, 1_000));
  await Promise.all([zombie.reseed(next), old.reseed(next)]);
};

interface KeyVersion {
  readonly key: string;
  readonly version: number;
}
const versions = 'select key, version from kv';

const replicaFrozen: Fault = async (context) => {
  const { pid } = anyStandby(context);
  signalTree(pid, 'SIGSTOP');
  try {
    await context.pause(between(context.random, 500, 1_500));
  } finally {
    signalTree(pid, 'SIGCONT');
  }
};

/** Commits wait for it, and are on the other standby before the primary shows them. */
const synchronousStalled: Fault = async (context) => {
  const { servers, random } = context;
  const { primary } = servers;
  const standby = anyStandby(context);
  const [receiver] = await insist(() =>
    servers.ask<{ pid: number }>(standby, 'select pid from pg_stat_wal_receiver'),
  );
  if (receiver === undefined) throw new Error(`${standby.name} receives nothing`);
  const name = standby.name.replace('-', '_');
  await insist(() => servers.ask(primary, `alter system set synchronous_standby_names = '${name}'`));
  try {
    await servers.ask(primary, 'select pg_reload_conf()');
    await context.pause(between(random, 200, 400));
    signalIfThere(receiver.pid, 'SIGSTOP');
    const stalledMs = between(random, 300, 1_000);
    await context.pause(stalledMs);
    const [waits] = await servers.ask<{ n: number }>(
      primary,
      `select count(*)::int as n from pg_stat_activity where wait_event = 'SyncRep'`,
    );
    note(context, 'commits that waited for the standby', waits?.n ?? 0);
  } finally {
    signalIfThere(receiver.pid, 'SIGCONT');
    await insist(() => servers.ask(primary, 'alter system reset synchronous_standby_names'));
    await insist(() => servers.ask(primary, 'select pg_reload_conf()'));
  }
};

export const databaseFaultsByKind: Readonly<Record<(typeof databaseFaults)[number], Fault>> = {
  'replay paused': replayPaused,
  'replay delayed': replayDelayed,
  'replica restarted with less': restartedWithLess,
  'backends terminated': backendsTerminated,
  'primary restarted': primaryRestarted,
  'promotion that loses a tail': promoted,
  'replica frozen': replicaFrozen,
  'synchronous standby stalled': synchronousStalled,
};
