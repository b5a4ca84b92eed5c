import pg from 'pg';
import { PlimsollError } from '../kernel/errors.ts';

// Asked for each column of each result.
const { getTypeParser, builtins } = pg.types;
const { INT8 } = builtins;

/** How values are read in every connection: int8 becomes a number only when that loses nothing; numeric stays a string. */
export const parsers: pg.CustomTypesConfig = {
  getTypeParser(oid, format) {
    if (oid === INT8 && format !== 'binary') return parseInt8;
    return getTypeParser(oid, format) as (value: string) => unknown;
  },
};

function parseInt8(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new PlimsollError(
    'PL_INT8_UNSAFE',
    `int8 value ${text} does not fit a JavaScript number; select it as text (column::text)`,
    { data: { value: text } },
  );
}
