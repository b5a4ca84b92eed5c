import type { Mutant } from './edit.ts';

const [engine, flight, flights] = ['engine', 'flight', 'flights'].map((name) => `cache/${name}.ts`) as [
  string,
  string,
  string,
];

/** Of what decides whether a kept value may be answered. */
export const cacheMutants: readonly Mutant[] = [
  {
    name: 'fill without lease',
    does: 'Keeps what a load brings with the versions of when it ended, not of when it began.',
    edits: [
      {
        file: flights,
        find: 'if (mayKeep && this.#kept.table.changesSince(flight.token) === 0) {',
        replace: 'if (mayKeep) {',
      },
      {
        file: flights,
        find: 'stamp: stamp ?? token.stamp - token.keyVersion,',
        replace: 'stamp: stamp ?? this.#kept.table.stampOf(token.tags),',
      },
      {
        file: 'cache/shared-fills.ts',
        find: `      tags,
      versions,
      data,`,
        replace: `      tags,
      versions: (await this.versionsOf(flight)) ?? versions,
      data,`,
      },
    ],
    schedules: [
      'a slow load, and a write meanwhile',
      'a slow load in another process, and a write meanwhile',
    ],
  },
  {
    name: 'refill without LSN floor',
    does: 'Does not tell a load at which position its tags were invalidated.',
    edits: [
      {
        file: flight,
        find: 'this.atLeast = laterMark(of.need, of.token.floor);',
        replace: 'this.atLeast = of.need;',
      },
      {
        file: flights,
        find: 'flight.atLeast = laterMark(flight.atLeast, found?.answer.floor ?? this.#kept.floor);',
        replace: ';',
      },
    ],
    schedules: [
      'a load from a late replica after a write',
      'a load from a late replica in another process after a write',
    ],
  },
  {
    name: 'invalidation before commit',
    does: 'Invalidates when the write begins, not when it is committed.',
    edits: [
      {
        file: engine,
        find: '      const startedMs = this.#clock.monotonicMs();\n      let value: V;',
        replace:
          '      const startedMs = this.#clock.monotonicMs();\n      await this.#invalidate({ ...changed, floor: noMark });\n      let value: V;',
      },
      {
        file: engine,
        find: '      flight.shown = position;\n      await this.#invalidate({ ...changed, floor });',
        replace: '      flight.shown = position;',
      },
    ],
    schedules: ['a write through the cache, and a load before its commit'],
  },
  {
    name: 'process tier without bus',
    does: 'Keeps values in each process, and hears nothing of the others.',
    edits: [
      { file: engine, find: 'bus === undefined);', replace: 'true);' },
      {
        file: engine,
        find: 'onMessage: (message) => this.#heard(message),',
        replace: 'onMessage: () => undefined,',
      },
      {
        file: engine,
        find: '      onTrust: (trusted, floor) => {\n        this.#kept.trust(trusted, floor);',
        replace: '      onTrust: (trusted) => {',
      },
    ],
    schedules: ['own write, then the cache of another process that has been told'],
  },
  {
    name: 'touched tags not noted',
    does: 'Notes the position of a write, and not what it has touched.',
    edits: [
      {
        file: 'kernel/seen.ts',
        find: '    for (const tag of tags) touch(progress, tag, written);\n  }\n\n  /** After a read',
        replace: '  }\n\n  /** After a read',
      },
    ],
    schedules: ['own write, then the cache of another process that has not been told'],
  },
  {
    name: 'mark of an entry not compared',
    does: 'Knows what its reader has touched, and answers what is kept all the same.',
    edits: [
      {
        file: engine,
        find: 'found === undefined || found.entry.mark < need ? undefined',
        replace: 'found === undefined ? undefined',
      },
    ],
    schedules: ['own write, then the cache of another process that has not been told'],
  },
  {
    name: 'dropped tags forgotten',
    does: 'Takes a token that has dropped its tags for one that has touched none.',
    edits: [
      {
        file: 'kernel/seen.ts',
        find: '    if (progress.tagsDropped) return progress.written;\n',
        replace: '',
      },
    ],
    schedules: [
      'own write of more tags than a token remembers, then an untold process',
      'own write of tags too long for a token, then an untold process',
    ],
  },
  {
    name: 'token text without tags',
    does: 'Leaves out of the text of a token what does not fit, and does not say so.',
    edits: [
      {
        file: 'kernel/seen-codec.ts',
        find: '(seen.hasDroppedTags(name) || (!withTags && touched.length > 0))',
        replace: 'seen.hasDroppedTags(name)',
      },
    ],
    schedules: ['own write of tags too long for a token, then an untold process'],
  },
  {
    name: 'load joined by who has written',
    does: 'Has one load of a key for all, whatever those who join have written meanwhile.',
    edits: [
      {
        file: flights,
        find: 'if (flight === undefined || flight.atLeast < need) return undefined;',
        replace: 'if (flight === undefined) return undefined;',
      },
    ],
    schedules: ['own write, then a load that another process began before it'],
  },
  {
    name: 'gap in the bus ignored',
    does: 'Goes on with the next message, whether there was one before it or not.',
    edits: [
      {
        file: 'cache/sequenced-bus.ts',
        find: 'batches.every((batch) => batch.place === (place += 1));',
        replace: 'batches.every((batch) => (place = batch.place) > 0);',
      },
    ],
    schedules: ['own write, whose message was lost on the way to another process'],
  },
  {
    name: 'began to listen without a floor',
    does: 'Hears all that is sent from now on, and loads as if nothing had been sent before.',
    edits: [
      {
        file: 'cache/kept.ts',
        find: 'this.#floor = laterMark(this.#floor, floor);',
        replace: ';',
      },
    ],
    schedules: ['own write, then a process that was started after it and reads a late replica'],
  },
  {
    name: 'shared tier read while it is behind',
    does: 'Asks the shared tier for what it could not be told of yet.',
    edits: [
      {
        file: 'cache/shared-tier.ts',
        find: '    if (this.#pending.has(ask.key, ask.tags)) return Promise.resolve(undefined);\n',
        replace: '',
      },
    ],
    schedules: ['own write, of which the shared tier could not be told yet'],
  },
  {
    name: 'row deleted before all were told',
    does: 'Deletes the row of an invalidation when it was published, told or not.',
    edits: [
      {
        file: 'cache/relay.ts',
        find: 'if (done === true && isWhole) told.push(id);',
        replace: 'told.push(id);',
      },
    ],
    schedules: ['own write, whose process died before it could tell the shared tier'],
  },
  {
    name: 'rows read and not applied',
    does: 'Asks the primary which invalidations there are, and takes the position without them.',
    edits: [{ file: 'cache/heard.ts', find: '      apply(row, at);\n', replace: '' }],
    schedules: ["somebody's write seen through the router, then the cache of an untold process"],
  },
  {
    name: 'what was read is not compared',
    does: 'Holds a reader to what he has written, and not to what he has read past the cache.',
    edits: [
      {
        file: 'cache/readers.ts',
        find: 'return this.#heard.covers(position) ? undefined : position;',
        replace: 'return undefined;',
      },
    ],
    schedules: [
      "somebody's write seen through the router, then the cache of an untold process",
      "somebody's write that waits for a standby while another reader asks, then the cache of an untold process",
    ],
  },
  {
    name: 'commits under way not waited for',
    does: 'Takes the position of the primary for one up to which all commits can be seen.',
    edits: [
      {
        file: 'cache/truth.ts',
        find: 'const isProven = await ended(here.writers, signal);',
        replace: 'const isProven = true;\n      void [ended, signal];',
      },
    ],
    schedules: [
      "somebody's write that waits for a standby while another reader asks, then the cache of an untold process",
    ],
  },
  {
    name: 'label by the position of the primary',
    does: 'Takes what the primary had written when it was read for what it showed: a commit may be there, and wait.',
    edits: [
      {
        file: 'cache/run-load.ts',
        find: '  return value;\n}',
        replace: '  if (flight.shown !== undefined) loading.reflect(flight.shown);\n  return value;\n}',
      },
    ],
    schedules: ['own write that waits for a standby, and a load from the primary meanwhile'],
  },
];
