import { existsSync } from 'node:fs';
import { EmbeddedError, messageOf } from './errors.ts';
import { moveAside } from './initialise.ts';
import { isPortTaken } from './postmaster.ts';
import { freePort } from './ports.ts';
import { EmbeddedReplica } from './replica.ts';
import { dropOtherSlots, slotOf } from './seed.ts';
import type { ClusterContext, EmbeddedServer } from './server.ts';
import { allSettled } from './until.ts';

export interface Starting {
  readonly context: ClusterContext;
  readonly primary: EmbeddedServer;
  /** The primary was initialised just now and never started. */
  readonly pristine: boolean;
  /** Ports of the last run by server name. */
  readonly ports: Readonly<Record<string, number>>;
  readonly log: (line: string) => void;
}

const portAttempts = 5;

async function launchAnywhere(server: EmbeddedServer, preferred: number | undefined): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await server.launchOn(await freePort(attempt === 1 ? preferred : undefined));
      return;
    } catch (error) {
      // Another program was faster between the test and the start.
      if (!isPortTaken(error) || attempt === portAttempts) throw error;
    }
  }
}

export async function launchPrimary({ primary, ports }: Starting, port: number | undefined): Promise<void> {
  if (port === undefined) await launchAnywhere(primary, ports[primary.name]);
  else await primary.launchOn(port);
}

/** Copies a pristine primary before it is started, everything else after. */
export async function startReplicas(
  starting: Starting,
  count: number,
  startPrimary: () => Promise<void>,
): Promise<EmbeddedReplica[]> {
  const { context, primary, pristine } = starting;
  const replicas = Array.from(
    { length: count },
    (_, index) => new EmbeddedReplica(context, `replica-${index + 1}`, primary),
  );
  if (pristine) {
    for (const replica of replicas)
      if (existsSync(replica.dataDir)) moveAside(replica.dataDir, 'orphaned', starting.log);
    await allSettled(replicas.map((replica) => replica.seedPristine()));
  }
  await startPrimary();
  await dropOtherSlots(
    primary.url,
    replicas.map((replica) => slotOf(replica.name)),
  );
  await allSettled(replicas.map((replica) => startReplica(starting, replica)));
  return replicas;
}

async function startReplica(starting: Starting, replica: EmbeddedReplica): Promise<void> {
  const { log, ports } = starting;
  if (replica.isSeeded) {
    const problem = await startProblem(replica, ports[replica.name]);
    if (problem === undefined) return;
    log(`${replica.name} cannot follow the primary and is seeded again: ${problem}`);
  } else if (existsSync(replica.dataDir)) {
    // Promoted in an earlier run, or spoiled: its data may exist nowhere else.
    moveAside(replica.dataDir, 'not-a-standby', log);
  }
  await replica.seedRunning();
  const again = await startProblem(replica, ports[replica.name]);
  if (again !== undefined)
    throw new EmbeddedError(
      'PL_EMBEDDED_REPLICA',
      `${replica.name} does not follow the primary even after it was seeded anew: ${again}`,
    );
}

async function startProblem(replica: EmbeddedReplica, port: number | undefined): Promise<string | undefined> {
  try {
    await replica.prepareSlot();
    await launchAnywhere(replica, port);
  } catch (error) {
    return messageOf(error);
  }
  return replica.joinProblem();
}
