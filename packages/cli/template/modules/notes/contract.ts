import { command, contract, event, query } from 'plimsoll';
import { z } from 'zod';

const Note = z.object({ id: z.number(), text: z.string() });

/** What other modules may use of this one, and all they may import. */
export const notes = contract('notes', {
  write: command({ input: z.object({ text: z.string().min(1).max(10_000) }), output: Note }),
  recent: query({
    input: z.object({ limit: z.coerce.number().int().min(1).max(100).default(20) }),
    output: z.object({ notes: z.array(Note), words: z.number() }),
  }),
  written: event({ payload: Note, key: (note) => String(note.id) }),
});
