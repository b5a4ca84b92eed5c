/**
 * `plimsoll/boundaries`: proof that each module touches only what is its own.
 *
 * Guarantee: in a project, a file of a module that imports another module's file other than its contract, a
 * cycle of `uses`, and a foreign key, view, function or trigger that ties what different modules own are all
 * found in one run. In a running app, a statement of a handler that names a table its module does not own is
 * refused before it is sent in development and test, and told once by the background channel in production.
 * Where the plan asks for roles, PostgreSQL refuses it in every environment, whatever way it is reached.
 *
 * Authoritative: the plan says who owns and uses what; the grammar of PostgreSQL reads the statements; the
 * catalog of a migrated database says what its objects depend on.
 *
 * Not promised: without roles, what is built at run time (`import(variable)`, `execute` in PL/pgSQL, the body of
 * a function that a statement calls without naming its schema); with them, a handler that sets its role back;
 * packages, and connections that are not the app's.
 *
 * On failure: a text that the grammar cannot read is sent, and PostgreSQL judges it; a source file that
 * cannot be read is a violation.
 */
export { checkBoundaries, type BoundaryFindings, type CheckOptions } from './check.ts';
export { describeViolation, type Violation } from './violation.ts';
export { compareWithTodo, readTodo, writeTodo, type Recorded, type RatchetOutcome } from './ratchet.ts';
export { readRelations, type CatalogRelation } from './catalog.ts';
export { renderMap, type MapOptions } from './map.ts';
export { createStatementGuard, guardDefaults, type StatementGuardOptions } from './guard.ts';
export { grantRoles } from './grant-roles.ts';
export { type OwnedModule } from './role-grants.ts';
export { loadSqlParser, type SqlParser } from './sql-parser.ts';
export { type Relation } from './catalog-rows.ts';
export { type Owned } from './owners.ts';
