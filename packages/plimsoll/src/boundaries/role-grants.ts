import type { Queryable } from '../database/statements.ts';
import type { Module } from '../modules/module.ts';
import { roleName } from './role-name.ts';
import {
  connection,
  defaultRows,
  relationRows,
  roleRows,
  routineRows,
  schemaRows,
  type ConnectionRow,
  type DefaultRow,
  type RelationRow,
  type RoleRow,
  type RoutineRow,
  type SchemaRow,
} from './role-rows.ts';
import { sql } from '../database/sql.ts';

export type OwnedModule = Pick<Module, 'name' | 'schema' | 'tables' | 'ownsTable'>;

/** Roles as they should be, and how to get there. */
export interface RoleDifference {
  readonly at: ConnectionRow;
  /** By module. */
  readonly roles: ReadonlyMap<string, string>;
  /** In the order to run them; empty when everything is as it should be. */
  readonly statements: readonly string[];
}

const onTables = ['select', 'insert', 'update', 'delete', 'truncate'];
const onSequences = ['usage', 'select', 'update'];

/**
 * Compares what the roles may do in this database with what the modules own. On what a module owns, what its role
 * may do beyond is left alone; on everything else it may do nothing. What PUBLIC may do is never changed. Names
 * come out with their schema only while `search_path` is `pg_catalog`.
 */
export async function roleDifference(
  database: Queryable,
  modules: readonly OwnedModule[],
): Promise<RoleDifference> {
  const at = await database.one<ConnectionRow>(connection);
  const roles = new Map(modules.map(({ name }) => [name, roleName(at.database, name)]));
  const names = [...roles.values()];
  const owned = modules.flatMap(({ schema }) => (schema === undefined ? [] : [schema]));
  const schemas = [...owned, ...modules.flatMap(({ tables }) => tables.map(schemaOf))];

  const known = await database.query<RoleRow>(roleRows(names));
  const schemaList = await database.query<SchemaRow>(schemaRows(names, schemas));
  const relations = await database.query<RelationRow>(relationRows(names, schemas));
  const routines = await database.query<RoutineRow>(routineRows(names, owned));
  const defaults = await database.query<DefaultRow>(defaultRows(names));

  const statements = modules.flatMap((module) => {
    const name = roleName(at.database, module.name);
    const role = quoted(name);
    const list = createGrantList(role);
    const row = known.find((other) => other.role === name);

    for (const { schema, target, held, open } of schemaList) {
      const uses = module.schema === schema || module.tables.some((table) => schemaOf(table) === schema);
      list.match('schema', target, uses && !open ? ['usage'] : [], uses, held[name]);
    }
    for (const { schema, name: relation, sequence, target, held, tables } of relations) {
      const owns =
        module.ownsTable(schema, relation) ||
        tables.some((table) => module.ownsTable(table.schema, table.name));
      list.match(
        sequence ? 'sequence' : 'table',
        target,
        sequence ? onSequences : onTables,
        owns,
        held[name],
      );
    }
    for (const { schema, target, held, open } of routines) {
      list.match('routine', target, open ? [] : ['execute'], module.schema === schema, held[name]);
    }
    return [
      ...roleStatements(role, row, at),
      ...list.statements(),
      ...defaultStatements(module, name, schemaList, defaults, at),
    ];
  });
  return { at, roles, statements };
}

function roleStatements(role: string, row: RoleRow | undefined, at: ConnectionRow): readonly string[] {
  const member = `grant ${role} to ${quoted(at.login)}${at.setOption ? ' with inherit false, set true' : ''}`;
  if (row === undefined) return [`create role ${role} nologin`, member];
  return [
    ...(row.excess.length === 0 ? [] : [`alter role ${role} ${row.excess.join(' ')}`]),
    ...row.memberships.map((other) => `revoke ${other} from ${role}`),
    ...(row.settable ? [] : [member]),
  ];
}

/** What the next migration makes is the module's from its first moment on, also for processes that run already. */
function defaultStatements(
  module: OwnedModule,
  name: string,
  schemas: readonly SchemaRow[],
  defaults: readonly DefaultRow[],
  at: ConnectionRow,
): readonly string[] {
  const role = quoted(name);
  const user = quoted(at.user);
  const own = schemas.find(({ schema, creatable }) => schema === module.schema && creatable);
  const wanted =
    own === undefined
      ? []
      : ([
          ['tables', onTables],
          ['sequences', onSequences],
        ] as const);
  return [
    ...wanted.flatMap(([kind, privileges]) => {
      const row = defaults.find(
        (other) => other.owner === at.user && other.schema === module.schema && other.kind === kind,
      );
      const has = row?.held[name] ?? [];
      return privileges.every((privilege) => has.includes(privilege))
        ? []
        : [
            `alter default privileges for role ${user} in schema ${own?.target} grant ${privileges.join(', ')} on ${kind} to ${role}`,
          ];
    }),
    ...defaults
      .filter(({ schema, held }) => held[name] !== undefined && (schema === null || schema !== module.schema))
      .map(({ owner, target, kind }) => {
        const where = target === null ? '' : ` in schema ${target}`;
        return `alter default privileges for role ${quoted(owner)}${where} revoke all on ${kind} from ${role}`;
      }),
  ];
}

/** Grants and revokes of one role; objects with the same change share a statement. */
function createGrantList(role: string): {
  match(
    kind: string,
    target: string,
    wanted: readonly string[],
    owns: boolean,
    held?: readonly string[],
  ): void;
  statements(): readonly string[];
} {
  const targets = new Map<string, string[]>();
  const add = (change: string, target: string): void => {
    targets.set(change, [...(targets.get(change) ?? []), target]);
  };
  return {
    match(kind, target, wanted, owns, held = []) {
      const missing = owns ? wanted.filter((privilege) => !held.includes(privilege)) : [];
      if (missing.length > 0) add(`grant ${missing.join(', ')} on ${kind}`, target);
      if (!owns && held.length > 0) add(`revoke all on ${kind}`, target);
    },
    statements: () =>
      [...targets].map(
        ([change, on]) => `${change} ${on.join(', ')} ${change.startsWith('grant') ? 'to' : 'from'} ${role}`,
      ),
  };
}

const quoted = (name: string): string => sql.id(name).compile().text;

const schemaOf = (table: string): string => table.slice(0, table.indexOf('.'));
