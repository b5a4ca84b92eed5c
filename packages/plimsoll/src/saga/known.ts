import type { Queryable } from '../database/statements.ts';
import { unknownSaga } from './read.ts';
import { lockSaga, type SagaRow } from './statements.ts';

/** The locked row of a saga that is there; PL_SAGA_UNKNOWN. */
export async function lockKnown(tx: Queryable, id: string): Promise<SagaRow> {
  const saga = await tx.maybeOne<SagaRow>(lockSaga(id));
  if (saga === undefined) throw unknownSaga(id);
  return saga;
}
