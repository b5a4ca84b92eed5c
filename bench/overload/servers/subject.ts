import underPressure from '@fastify/under-pressure';
import fastify from 'fastify';
import pg from 'pg';
import { createShedder, shedFastify } from 'plimsoll/shed';
import { Pool } from 'undici';
import type { Protection } from '../subjects.ts';
import type { Work } from '../workloads.ts';
import { ready } from './ready.ts';

const { protection, work } = JSON.parse(process.argv[2] ?? '') as {
  readonly protection: Protection;
  readonly work: Work;
};

const app = fastify({ logger: false });
let state: () => unknown = () => undefined;
if (protection.kind === 'under-pressure') await app.register(underPressure, protection.options);
if (protection.kind === 'plimsoll') {
  const shedder = createShedder({ name: 'edge' });
  await app.register(shedFastify(shedder));
  state = () => shedder.state();
}
const handle = handlerOf(work);
app.get('/work', async () => ({ done: await handle() }));
ready(await app.listen({ host: '127.0.0.1', port: 0 }), state);

function handlerOf(asked: Work): () => Promise<unknown> {
  if (asked.kind === 'cpu') {
    return async () => {
      const endMs = performance.now() + asked.busyMs;
      let turns = 0;
      while (performance.now() < endMs) turns += 1;
      return turns;
    };
  }
  if (asked.kind === 'database') {
    const pool = new pg.Pool({ connectionString: asked.url, max: asked.connections });
    const text = 'select relname, pg_sleep(0.02 + 0.04 * random()) from pg_class where oid = $1';
    return async () => (await pool.query<{ relname: string }>(text, [1259])).rows[0]?.relname;
  }
  const pool = new Pool(asked.origin, { pipelining: 1 });
  return async () => {
    const { body } = await pool.request({ path: '/', method: 'GET' });
    return body.text();
  };
}
