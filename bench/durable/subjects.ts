import { bullmq } from './bullmq.ts';
import { graphileWorker } from './graphile-worker.ts';
import { pgBoss } from './pg-boss.ts';
import type { Subject } from './subject.ts';

export const subjects: readonly Subject[] = [graphileWorker, ...pgBoss, ...bullmq];

/** Each in a process of its own. */
export const sagaSubjects: Readonly<Record<string, { readonly file: string; readonly setting: string }>> = {
  DBOS: { file: 'dbos.ts', setting: '5.3.0, started directly, system database pool of 20' },
};
