/** One crossing of a boundary: where, what, and what to do about it. */
export interface Violation {
  readonly layer: 'imports' | 'uses' | 'catalog';
  /** A file from the root of the project, an object of the database, or a module. Stays the same when lines move. */
  readonly where: string;
  readonly line?: number;
  readonly what: string;
  readonly fix: string;
}

/** `where: what: what to do`. */
export function describeViolation({ where, line, what, fix }: Violation): string {
  return `${where}${line === undefined ? '' : `:${line}`}: ${what}: ${fix}`;
}
