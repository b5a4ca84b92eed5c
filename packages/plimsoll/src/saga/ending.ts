import { sql } from '../database/sql.ts';
import type { Queryable } from '../database/statements.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { addRows, wake } from './store.ts';
import { lockKnown } from './known.ts';
import type { Ending, SagaState } from './statements.ts';

/**
 * Asks a saga to be undone, whatever it is at: what it has under way is settled first, and nothing new is begun. One
 * that is done goes back as well. Does nothing to one that goes back already. Resolves to the state it was in.
 */
export async function askToEnd(
  tx: Queryable,
  id: string,
  asked: 'cancel' | 'compensate',
  ending: Ending,
): Promise<SagaState> {
  const saga = await lockKnown(tx, id);
  const { state, undoing } = saga;
  if (undoing) return state;
  if (saga.erased)
    throw new PlimsollError(
      'PL_SAGA_STATE',
      `saga ${id} is ${state}: ${asked} does nothing, because the personal data that undoing it would need was erased`,
      { data: { id, state, asked } },
    );
  const { who, why } = ending;
  await addRows(tx, id, [{ kind: 'asked', operation: asked, who, why }]);
  if (state === 'done') {
    const error = { error: 'Cancelled', data: ending };
    await tx.execute(sql`
      update plimsoll.saga set undoing = true, ending = ${sql.json(ending)}, error = ${sql.json(error)} where id = ${id}`);
    await wake(tx, { ...saga, undoing: true });
    return state;
  }
  await tx.execute(sql`update plimsoll.saga set ending = ${sql.json(ending)} where id = ${id}`);
  const { unsettled } = await tx.one<{ unsettled: boolean }>(sql`
    select exists (
      select 1 from plimsoll.saga_step b where b.saga = ${id} and b.kind = 'began' and b.op = 'step' and not exists (
        select 1 from plimsoll.saga_step d where d.saga = ${id} and d.place = b.place and d.kind = 'done')) as unsettled`);
  await wake(tx, saga, !unsettled || ending.assumeUndone);
  return state;
}
