import type { Mutant } from './edit.ts';

const [choose, reads, router, causality] = ['choose', 'reads', 'router', 'causality'].map(
  (name) => `database/routing/${name}.ts`,
) as [string, string, string, string];
const comparePositions = '    if (state.canServe(position)) able.push(index);';

/** Of what decides where a read goes. */
export const readMutants: readonly Mutant[] = [
  {
    name: 'random routing',
    does: 'Sends a read to any replica that is well, as the routers of query builders do.',
    edits: [
      { file: choose, find: comparePositions, replace: '    if (state.out === undefined) able.push(index);' },
    ],
    schedules: ['own write, commits replayed late'],
  },
  {
    name: 'token before commit',
    does: 'Takes the position in the last statement before COMMIT, not behind it.',
    edits: [
      {
        file: 'database/routing/commit.ts',
        find: 'before: [beforeCommit],\n      after: [primarySample],',
        replace: 'before: [beforeCommit, primarySample],\n      after: [],',
      },
      {
        file: 'database/routing/commit.ts',
        find: 'const [before, commit, after] = results;',
        replace: 'const [before, after, commit] = results;',
      },
      {
        file: 'database/routing/commit.ts',
        find: "syncs === 'off' ? position.inserted : position.flushed",
        replace: 'position.inserted',
      },
    ],
    schedules: ['own write, commits replayed late'],
  },
  {
    name: 'flush token with asynchronous commit',
    does: 'Takes what is safe on disk for the position of a commit that does not wait for the disk.',
    edits: [
      {
        file: 'database/routing/commit.ts',
        find: "syncs === 'off' ? position.inserted : position.flushed",
        replace: 'position.flushed',
      },
    ],
    schedules: ['own write, with synchronous_commit off'],
  },
  {
    name: 'no read floor',
    does: 'Needs what its reader has written, and not what he has read.',
    edits: [
      {
        file: 'database/routing/consistency.ts',
        find: 'return mark.written > mark.read ? mark.written : mark.read;',
        replace: 'return mark.written;',
      },
    ],
    schedules: ['read on one replica, then on an older one', 'read on the primary, then on replicas'],
  },
  {
    name: 'no incarnation check',
    does: 'Takes what a replica had replayed before it crashed for what it has now.',
    edits: [
      {
        file: 'database/routing/replica-state.ts',
        find: '    this.#replayed = replayed ?? 0n;',
        replace: '    this.#advance(replayed ?? 0n);',
      },
      {
        file: 'database/routing/replica-state.ts',
        find: 'return sample.incarnation === chosen;',
        replace: 'return true;',
      },
    ],
    schedules: ['own write, on a replica that crashed and came back'],
  },
  {
    name: 'window in the process',
    does: 'Keeps who has written on the primary for two seconds, in the memory of this process; all others go anywhere.',
    edits: [
      {
        file: causality,
        find: '    seen.noteWritten(this.name, this.#epoch.text, written);',
        replace: `    seen.noteWritten(this.name, this.#epoch.text, written);
    ((this as any).pinned ??= new WeakMap()).set(seen, this.#clock());`,
      },
      {
        file: router,
        find: '    const seen = noted ? read.seen : undefined;',
        replace: `    const pinnedAtMs = (causality as any).pinned?.get(read.seen);
    if (pinnedAtMs !== undefined && nowMs - pinnedAtMs < 2_000)
      return { to: 'primary', reason: 'intent', later: false, need: 0n };
    const index = Math.floor(random() * watch.states.length);
    if (read.level !== 'strong') return { to: 'replica', index, reason: 'intent', need: 0n };
    const seen = noted ? read.seen : undefined;`,
      },
    ],
    schedules: ['own write, next request in another process'],
  },
  {
    name: 'epoch by number only',
    does: 'Compares positions as numbers, whatever histories they are of.',
    edits: [
      {
        file: choose,
        find: "    if (mark !== undefined && mark.epoch !== epoch) return primary('epoch');\n",
        replace: '',
      },
      {
        file: 'database/routing/watch.ts',
        find: '    return epoch.rowId === undefined ? proof === epoch.timeline : proof === epoch.rowId;',
        replace: '    return proof !== undefined;',
      },
    ],
    schedules: ['own write after a failover, beside a replica of the lost history'],
  },
  {
    name: 'guard in a CTE',
    does: 'Asks the replica for its position in the statement that reads, and believes it.',
    edits: [
      { file: choose, find: comparePositions, replace: '    if (state.out === undefined) able.push(index);' },
      {
        file: reads,
        find: "import type pg from 'pg';",
        replace: `import type pg from 'pg';
import { parseLsn } from '../../kernel/seen.ts';
import { neededBy } from './consistency.ts';`,
      },
      {
        file: reads,
        find: `        text,
        values: [...values],
        after,
      });`,
        replace: `        text: \`with answer as (\${text}) select answer.*, pg_last_wal_replay_lsn()::text as guard from answer\`,
        values: [...values],
        after,
      });
      const need = neededBy(wishes.level, wishes.seen?.mark(this.#options.causality.name));
      for (const { guard } of results.at(-2)?.rows ?? [])
        if ((parseLsn(guard) ?? 0n) < need) throw new StaleRead('the guard says no');`,
      },
    ],
    schedules: ['own write, replayed while the read runs'],
  },
  {
    name: 'replica reads leave no floor',
    does: 'Notes what was read on the primary, and not what was read on a replica.',
    edits: [{ file: reads, find: '    seen.noteRead(causality.name, chosen.epoch, shown);\n', replace: '' }],
    schedules: ['read on one replica, then on an older one'],
  },
  {
    name: 'states outlive an epoch',
    does: 'Learns of a new history, and goes on with what it knew of the replicas in the old one.',
    edits: [
      {
        file: 'database/routing/watch.ts',
        find: '    for (const state of this.states) state.historyChanged(first);\n',
        replace: '',
      },
    ],
    schedules: ['own write after a failover, before any replica was asked again'],
  },
];
