import { bullmq } from './bullmq.ts';
import { graphileWorker } from './graphile-worker.ts';
import { pgBoss } from './pg-boss.ts';
import { plimsoll } from './plimsoll.ts';
import type { Subject } from './subject.ts';

export const subjects: readonly Subject[] = [plimsoll, graphileWorker, ...pgBoss, ...bullmq];

/** Each in a process of its own. */
export const sagaSubjects: Readonly<Record<string, { readonly file: string; readonly setting: string }>> = {
  plimsoll: {
    file: 'plimsoll-sagas.ts',
    setting:
      'an app with its whole runtime, NODE_ENV production, concurrency 64, pool of 20; the command that starts it is counted',
  },
  DBOS: { file: 'dbos.ts', setting: '5.3.0, started directly, system database pool of 20' },
};
