import { z } from 'zod';
import { createApp } from '../../src/app/app.ts';
import { plan } from '../../src/app/plan.ts';
import { sql } from '../../src/database/sql.ts';
import { operations } from '../../src/kernel/channels.ts';
import { command, contract } from '../../src/modules/contract.ts';
import { module } from '../../src/modules/module.ts';
import { saga } from '../../src/saga/saga.ts';

/**
 * An app in a process of its own. Where it is told to, it kills itself: `in flight`, with the effect written and not
 * committed; `after hotel` and `between car`, with more of it written, and not committed; `in undo hotel` and so on;
 * `committed travel.take`, as soon as a step is committed, with all that it was committed with.
 */
const url = process.argv[2] ?? '';
const dieAt = process.argv[3];

function at(point: string): void {
  if (point === dieAt) process.kill(process.pid, 'SIGKILL');
}

operations.subscribe(({ operation, outcome }) => {
  if (outcome === 'ok') at(`committed ${operation}`);
});

const name = z.object({ name: z.string() });
const travel = contract('travel', {
  go: command({ input: z.object({ tripId: z.string(), refuse: z.boolean() }) }),
  take: command({
    input: name.extend({ tripId: z.string(), refuse: z.boolean() }),
    errors: { Refused: z.object({}) },
  }),
  giveBack: command({ input: name.extend({ tripId: z.string() }) }),
});

const trip = saga(
  { version: 1, input: z.object({ tripId: z.string(), refuse: z.boolean() }), uses: [travel] },
  async (run, { tripId, refuse }) => {
    for (const name of ['flight', 'hotel', 'car']) {
      const taken = await run.step(
        name,
        travel.take,
        { name, tripId, refuse: refuse && name === 'car' },
        {
          compensate() {
            at(`after ${name}`);
            return [travel.giveBack, { name, tripId }];
          },
        },
      );
      if (!taken.ok) throw run.fail('Refused');
      at(`between ${name}`);
    }
  },
);

const travelModule = module(travel, {
  owns: { schema: 'travel', migrations: new URL('./travel/', import.meta.url) },
  commands: {
    async go(input, { start }) {
      start(trip, input, { id: input.tripId });
    },
    async take({ name, tripId, refuse }, { tx, fail }) {
      at(`before ${name}`);
      if (refuse) return fail('Refused', {});
      // Not once by itself: that it is counted once is for the key of the step.
      await tx.execute(
        sql`insert into travel.taken (trip, name, n) values (${tripId}, ${name}, 1) on conflict (trip, name) do update set n = taken.n + 1`,
      );
      at(`in ${name}`);
      return undefined;
    },
    async giveBack({ name, tripId }, { tx }) {
      at(`before undo ${name}`);
      await tx.execute(sql`update travel.taken set n = n - 1 where trip = ${tripId} and name = ${name}`);
      at(`in undo ${name}`);
    },
  },
  sagas: { trip },
});

const app = createApp(
  plan({
    name: 'travel',
    modules: [travelModule],
    worker: { pollMs: 50, backoff: { baseMs: 10, maxMs: 50 } },
    expectedPeak: { requestsPerSecond: 1 },
    objectives: { default: { p95Ms: 1_000, errorRate: 0.01 } },
  }),
  { databaseUrl: url, listen: false },
);
await app.start();
process.on('message', (message) => {
  const { go, stop } = message as { go?: { tripId: string; refuse: boolean }; stop?: true };
  if (go !== undefined) void app.call(travel.go, go).then(() => process.send?.('started'));
  if (stop === true) void app.stop().then(() => process.disconnect());
});
process.send?.('ready');
