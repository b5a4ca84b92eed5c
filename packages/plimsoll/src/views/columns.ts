/** What a value of each type of column is in JavaScript, to read and to write. */
export interface ColumnValues {
  text: string;
  /** In lower case, as PostgreSQL writes it. */
  uuid: string;
  int: number;
  /** Up to what a number holds without loss. */
  bigint: number;
  'double precision': number;
  /** `12.50`: digits, so that nothing is lost. */
  numeric: string;
  boolean: boolean;
  timestamptz: Date;
  /** What JSON can say. */
  jsonb: unknown;
}

export type ColumnType = keyof ColumnValues;
/** With `?` it may be null. */
export type Column = ColumnType | `${ColumnType}?`;
/** What tells rows apart: types whose equality is the same in JavaScript and in PostgreSQL. */
export type KeyColumn = 'text' | 'uuid' | 'int' | 'bigint';

export type ColumnValue<C extends Column> = C extends `${infer T extends ColumnType}?`
  ? ColumnValues[T] | null
  : C extends ColumnType
    ? ColumnValues[C]
    : never;
export type Columns = Readonly<Record<string, Column>>;
export type KeyColumns = Readonly<Record<string, KeyColumn>>;
/** One row, by the names of its columns. */
export type Row<C extends Columns> = { readonly [Name in keyof C]: ColumnValue<C[Name]> };

const most = 2 ** 31;
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const digits = /^-?\d+(\.\d+)?$/;

const sound: { readonly [T in ColumnType]: (value: unknown) => boolean } = {
  text: (value) => typeof value === 'string' && !value.includes('\0'),
  uuid: (value) => typeof value === 'string' && uuid.test(value),
  int: (value) => Number.isInteger(value) && Number(value) >= -most && Number(value) < most,
  bigint: (value) => Number.isSafeInteger(value),
  'double precision': (value) => Number.isFinite(value),
  numeric: (value) => typeof value === 'string' && digits.test(value),
  boolean: (value) => typeof value === 'boolean',
  timestamptz: (value) => value instanceof Date && !Number.isNaN(value.getTime()),
  jsonb: (value) => value !== null && JSON.stringify(value) !== undefined,
};

const wanted: Readonly<Record<ColumnType, string>> = {
  text: 'a string without the character 0',
  uuid: 'a UUID in lower case',
  int: 'a whole number of 32 bits',
  bigint: 'a whole number that JavaScript holds exactly',
  'double precision': 'a finite number',
  numeric: 'a string of digits such as "12.50"',
  boolean: 'true or false',
  timestamptz: 'a valid Date',
  jsonb: 'a value that JSON can say',
};

export function isColumn(column: unknown): column is Column {
  return typeof column === 'string' && Object.hasOwn(sound, typeOf(column as Column));
}

export function isKeyColumn(column: unknown): column is KeyColumn {
  return ['text', 'uuid', 'int', 'bigint'].includes(column as string);
}

export function typeOf(column: Column): ColumnType {
  return (column.endsWith('?') ? column.slice(0, -1) : column) as ColumnType;
}

export function isNullable(column: Column): boolean {
  return column.endsWith('?');
}

/** What is wrong with a value for its column; undefined when nothing is. */
export function valueProblem(column: Column, value: unknown): string | undefined {
  if (value === null && isNullable(column)) return undefined;
  const type = typeOf(column);
  if (sound[type](value)) return undefined;
  const shown = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value);
  const orNull = isNullable(column) ? ', or null' : '';
  return `is ${shown.slice(0, 100)}; want ${wanted[type]}${orNull}`;
}

/** The value as it will come back from its column, so that a fold sees the same within a batch and after it. */
export function asStored(column: Column, value: unknown): unknown {
  if (value === null) return null;
  const type = typeOf(column);
  if (type === 'jsonb') return JSON.parse(JSON.stringify(value)) as unknown;
  return type === 'uuid' && typeof value === 'string' ? value.toLowerCase() : value;
}
