import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, inject, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '@plimsoll/embedded';
import { createDatabase, type Database } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { jobMigrations } from '../durable/migrations.ts';
import { createJobs } from './create-jobs.ts';
import { jobDriverCases } from './driver-suite/suite.ts';
import type { Jobs } from './jobs.ts';

let server: TestDatabase;
let database: Database;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  server = await createTestDatabase(inject('cluster'));
  database = createDatabase({ url: server.url });
  await migrate(database, [jobMigrations]);
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await database?.close();
  await server?.drop();
});

async function startProcess(name: string): Promise<ChildProcess> {
  const child = fork(new URL('./fixtures/driver-process.ts', import.meta.url), [server.url, name], {
    execArgv: ['--conditions=plimsoll:source'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  await once(child, 'message');
  return child;
}

const open = (): Jobs => createJobs({ database });

// #region suite
test.for(jobDriverCases)('$name', (each) => each.run({ open, startProcess, takeoverMs: 5_000 }));
// #endregion
