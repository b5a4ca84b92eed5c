import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startCluster, type Cluster } from '@plimsoll/embedded';
import { createApp, type App } from 'plimsoll';
import { untilIdle } from 'plimsoll/testing';
import plan from '../../plimsoll.plan.ts';
import { notes } from './contract.ts';

let cluster: Cluster;
let app: App;

before(async () => {
  cluster = await startCluster({ replicas: 0 });
  app = createApp(plan, { databaseUrl: cluster.primary.url, listen: false });
  await app.start();
});
after(async () => {
  await app.stop();
  await cluster.stop();
});

test('a note that was written is read, and its words are counted once', async () => {
  const { id } = await app.call(notes.write, { text: 'three short words' });
  await untilIdle(app);
  assert.deepEqual(await app.call(notes.recent, {}), {
    notes: [{ id, text: 'three short words' }],
    words: 3,
  });
});

test('an empty note is refused', async () => {
  await assert.rejects(app.call(notes.write, { text: '' }), { code: 'PL_INPUT_INVALID' });
});
