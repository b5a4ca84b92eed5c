import { module, sql } from 'plimsoll';
import { notes } from './contract.ts';

export const notesModule = module(notes, {
  owns: { schema: 'notes', migrations: new URL('./migrations/', import.meta.url) },
  commands: {
    // One command, one transaction: the row and the event exist together or not at all.
    async write({ text }, { tx, emit }) {
      const note = await tx.one<{ id: number; text: string }>(
        sql`insert into notes.note (text) values (${text}) returning id, text`,
      );
      emit(notes.written, note);
      return note;
    },
  },
  queries: {
    // Read-only, and from a replica where there is one.
    async recent({ limit }, { db }) {
      const [rows, { words }] = await Promise.all([
        db.query<{ id: number; text: string }>(
          sql`select id, text from notes.note order by id desc limit ${limit}`,
        ),
        db.one<{ words: number }>(sql`select words from notes.total`),
      ]);
      return { notes: rows, words };
    },
  },
  on: (on) => [
    // Its own transaction and retries; its effect happens once, whoever is killed.
    on(notes.written, { name: 'count-words' }, async ({ text }, { tx }) => {
      await tx.execute(sql`update notes.total set words = words + ${text.split(/\s+/).length}`);
    }),
  ],
});
