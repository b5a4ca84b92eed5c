/** Three steps with a write each, by DBOS, in a process of its own: it is one for each process. */
import { DBOS } from '@dbos-inc/dbos-sdk';
import { poolOf } from './pool.ts';
import { effectInsert } from './subject.ts';
import { measureSagas } from './saga-load.ts';

const [url = ''] = process.argv.slice(2);
const pool = poolOf({ connectionString: url, max: 20 });
DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, systemDatabasePoolSize: 20, logLevel: 'error' });
const write = (n: number, name: string): Promise<unknown> =>
  DBOS.runStep(
    async () => {
      await pool.query(effectInsert, [n]);
    },
    { name },
  );
const checkout = DBOS.registerWorkflow(
  async (n: number) => {
    await write(n, 'reserve');
    await write(n, 'charge');
    await write(n, 'ship');
  },
  { name: 'checkout' },
);
await DBOS.launch();
await measureSagas(async (n) => {
  const handle = await DBOS.startWorkflow(checkout)(n);
  await handle.getResult();
});
await DBOS.shutdown();
await pool.end();
