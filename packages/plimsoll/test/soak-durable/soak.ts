/** `npm run soak:durable`: orders are accepted while processes, servers and clocks misbehave, and then all is counted. */
import { seededRandom } from '../../src/testing/causality/random.ts';
import { startBank } from './bank.ts';
import { brokenPromises, unfinished } from './checks.ts';
import { startChild, type Child } from './children.ts';
import { faultKinds, faultsByKind, type FaultContext } from './faults.ts';
import type { Order, Release } from './modules.ts';
import { runSoak } from '../soak-run.ts';
import { help, readOptions, type SoakOptions } from './options.ts';
import { startServers } from './servers.ts';

const processCount = 4;
const lanes = 8;
const accounts = 12;
/** In ten minutes. */
const least = { accepted: 10_000, ofEachKind: 3 } as const;
/** In each round. */
const leastOfRound = { accepted: 100, ofEachKind: 1 } as const;
const restMs = 180_000;
/** What is kept of a process that serves for a long time may grow by so much: garbage that was not collected yet. */
const growthMb = 20;

async function main({ minutes, rounds, seed, json }: SoakOptions): Promise<boolean> {
  const startedMs = performance.now();
  const say = (line: string): void => {
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(0).padStart(4);
    if (!json) process.stderr.write(`${seconds} s  ${line}\n`);
  };
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      stop.signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
    });
  say(`seed ${seed}, ${rounds === undefined ? `${minutes} minutes` : `${rounds} rounds`}`);

  const random = seededRandom(seed);
  await using stack = new AsyncDisposableStack();
  const servers = await startServers(stack);
  const bank = stack.use(await startBank(seededRandom(seed + 1)));
  let release: Release = 1;
  const settingsOf = ({ name }: Pick<Child, 'name'>) => ({
    name,
    databaseUrl: servers.url,
    bankUrl: bank.url,
    release,
  });
  // One after the other: the first makes the tables.
  const children: Child[] = [];
  for (let number = 1; number <= processCount; number += 1) {
    const name = number === processCount ? 'app' : `worker-${number}`;
    const child = await startChild(settingsOf({ name }));
    stack.defer(() => child.stop());
    children.push(child);
  }
  say('all are there');

  const accepted = new Set<number>();
  const refusals: Record<string, number> = {};
  let asked = 0;
  const forMs = minutes * 60_000;
  const beganMs = performance.now();
  const wantedFaults = rounds === undefined ? Infinity : rounds * faultKinds.length;
  let madeFaults = 0;
  const isOver = (): boolean =>
    stop.signal.aborted || performance.now() >= beganMs + forMs || madeFaults >= wantedFaults;
  const isHalfOver = (): boolean =>
    performance.now() >= beganMs + forMs / 2 || madeFaults >= wantedFaults / 2;

  /** A client insists, under the same key and at whatever process, until it is told that its order was accepted. */
  async function client(of: number): Promise<void> {
    const own = seededRandom(seed * 100 + of);
    while (!isOver()) {
      asked += 1;
      const order: Order = {
        id: asked,
        account: Math.floor(own() * accounts),
        pence: 1 + Math.floor(own() * 10_000),
        poison: own() < 0.01,
        refused: own() < 0.1,
        slowMs: own() < 0.02 ? Math.round(own() * 2_000) : 0,
      };
      while (!stop.signal.aborted) {
        const child = children[Math.floor(own() * children.length)];
        const { error } = (await child?.ask({ do: 'place', order }).catch((failure: unknown) => ({
          error: String(failure),
        }))) ?? { error: 'there is no process' };
        if (error === undefined) {
          accepted.add(order.id);
          break;
        }
        const kind = error.replaceAll(/\d+/g, 'n').slice(0, 90);
        refusals[kind] = (refusals[kind] ?? 0) + 1;
        await pause(50);
        // Left behind as unknown: it may be there or not, and all of it or nothing.
        if (isOver()) break;
      }
      await pause(own() * 60);
    }
  }

  const happened: Record<string, number> = {};
  const failed: string[] = [];
  const context: FaultContext = {
    servers,
    children,
    settingsOf,
    release: () => release,
    random,
    pause,
    longMs: rounds === undefined ? Math.min(30_000, forMs * 0.3) : 5_000,
  };
  async function breakThings(): Promise<void> {
    while (!isOver()) {
      for (const kind of shuffled(faultKinds, random)) {
        if (isOver()) return;
        // It goes on while others happen.
        const fault = faultsByKind[kind](context).then(
          () => (happened[kind] = (happened[kind] ?? 0) + 1),
          (error: unknown) =>
            failed.push(`${kind}: ${error instanceof Error ? error.message : String(error)}`),
        );
        if (kind !== 'long transaction') await fault;
        else background.push(fault);
        await pause(200 + random() * 1_000);
        madeFaults += 1;
        if (release === 1 && isHalfOver()) background.push(deploy());
      }
    }
  }
  const background: Promise<unknown>[] = [];
  async function deploy(): Promise<void> {
    release = 2;
    say('release 2 is deployed, one process after the other');
    for (const child of children) {
      await child.replace(settingsOf(child));
      await pause(500);
    }
    happened['release deployed'] = 1;
  }
  const heaps: number[] = [];
  async function weigh(): Promise<void> {
    while (!isOver()) {
      await pause(5_000);
      const heap = await children
        .at(-1)
        ?.ask({ do: 'memory' })
        .catch(() => undefined);
      if (heap?.heapMb !== undefined) heaps.push(heap.heapMb);
    }
  }

  const telling = setInterval(() => {
    const faults = Object.values(happened).reduce((sum, count) => sum + count, 0);
    say(`${accepted.size} orders accepted, ${faults} faults`);
  }, 10_000);
  stack.defer(() => clearInterval(telling));
  // Before the servers go: where something fails, the rest of the run would go on.
  stack.defer(() => stop.abort());
  await Promise.all([...Array.from({ length: lanes }, (_, n) => client(n)), breakThings(), weigh()]);
  await Promise.all(background);

  say('nothing breaks any more; what is poisonous is cured when all else is done');
  const untilMs = performance.now() + restMs;
  let left = await unfinished(servers);
  const rest = async (isDone: () => boolean): Promise<void> => {
    do {
      await pause(250);
      left = await unfinished(servers);
    } while (!isDone() && performance.now() < untilMs && !stop.signal.aborted);
  };
  await rest(() => left.outbox + left.tasks + left.behind === 0);
  const parked = left.parked;
  await servers.ask('insert into soak.cured default values on conflict do nothing');
  await servers.ask(
    `update plimsoll.task set state = 'ready', attempt = 0, run_at = now() where state = 'parked'`,
  );
  await rest(() => left.outbox + left.tasks + left.parked + left.behind === 0);

  const broken = [...(await brokenPromises(servers, bank, accepted))];
  if (left.outbox + left.tasks + left.parked + left.behind > 0)
    broken.push(`not all was done in ${restMs / 1_000} s: ${JSON.stringify(left)}`);
  const third = Math.floor(heaps.length / 3);
  const [early, late] = [median(heaps.slice(0, third)), median(heaps.slice(-third))];
  if (third >= 3 && late > early + growthMb)
    broken.push(`the heap of a process grew from ${early.toFixed(0)} to ${late.toFixed(0)} MB`);

  const unmet: string[] = [];
  const wanted = rounds === undefined ? least : leastOfRound;
  const part = rounds ?? minutes / 10;
  if (accepted.size < wanted.accepted * part) unmet.push(`orders accepted: ${accepted.size}`);
  for (const kind of faultKinds)
    if ((happened[kind] ?? 0) < Math.floor(wanted.ofEachKind * part))
      unmet.push(`${kind}: ${happened[kind] ?? 0}`);
  if (stop.signal.aborted) unmet.push('it was ended before its time');

  if (!json) {
    for (const line of broken.slice(0, 50)) process.stderr.write(`broken: ${line}\n`);
    for (const line of failed.slice(0, 20)) process.stderr.write(`fault not made: ${line}\n`);
    for (const line of unmet) process.stderr.write(`unmet: ${line}\n`);
  }
  const faults = Object.values(happened).reduce((sum, count) => sum + count, 0);
  process.stdout.write(
    `${JSON.stringify({
      soak: 'durable',
      seed,
      minutes: Math.round(((performance.now() - startedMs) / 60_000) * 100) / 100,
      operations: accepted.size,
      asked,
      faults,
      faultsByKind: happened,
      faultsNotMade: failed.length,
      violations: broken.length,
      parkedUntilCured: parked,
      bankRepeated: bank.repeated,
      heapMb: { early: Math.round(early), late: Math.round(late) },
      refusals: Object.fromEntries(
        Object.entries(refusals)
          .toSorted((one, other) => other[1] - one[1])
          .slice(0, 8),
      ),
      unmet,
    })}\n`,
  );
  return broken.length === 0 && unmet.length === 0;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ item }) => item);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

await runSoak(async () => {
  const options = readOptions();
  if (options !== undefined) return main(options);
  process.stdout.write(`${help}\n`);
  return true;
});
