/** A process of the soak: a router and a cache of its own. It does what its parent asks, and ends with it. */
import { createServing } from './serving.ts';
import type { Answered, Asked, ProcessSettings } from './protocol.ts';

const serving = await createServing(JSON.parse(process.argv[2] ?? '{}') as ProcessSettings);

// Answers of one turn of the loop travel together.
let answers: Answered[] = [];
function answer(of: Answered): void {
  answers.push(of);
  if (answers.length > 1) return;
  setImmediate(() => {
    if (process.connected) process.send?.(answers);
    answers = [];
  });
}

process.on('disconnect', () => process.exit(0));
// The parent ends us; a terminal sends this to all.
process.on('SIGINT', () => undefined);
process.on('message', (message) => {
  for (const asked of message as readonly Asked[]) {
    void serving.serve(asked).then(
      (done) => answer({ ...done, of: asked.number }),
      (error: unknown) =>
        answer({ of: asked.number, error: error instanceof Error ? error.message : String(error) }),
    );
  }
});
process.send?.('ready');
