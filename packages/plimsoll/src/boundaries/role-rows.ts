import { sql, type Sql } from '../database/sql.ts';
import type { Relation } from './catalog-rows.ts';

/** Privileges of the modules' roles on one object, in lower case. */
export type Held = Readonly<Record<string, readonly string[]>>;

export interface ConnectionRow {
  readonly database: string;
  /** Who logged in: it must be able to set the roles. */
  readonly login: string;
  /** Whose the tables of the next migration will be. */
  readonly user: string;
  /** Whether memberships say by themselves if they allow to set the role (PostgreSQL 16). */
  readonly setOption: boolean;
}
export interface RoleRow {
  readonly role: string;
  /** Attributes to take away, as `alter role` names them: a wall is only as good as its role is poor. */
  readonly excess: readonly string[];
  /** Roles that it is a member of, quoted. */
  readonly memberships: readonly string[];
  /** Whether the user who logged in may set it. */
  readonly settable: boolean;
}
export interface SchemaRow {
  readonly schema: string;
  readonly target: string;
  readonly held: Held;
  /** Whether PUBLIC, and so every role, may use it. */
  readonly open: boolean;
  /** Whether the current user may make tables in it. */
  readonly creatable: boolean;
}
export interface RelationRow extends Relation {
  readonly sequence: boolean;
  readonly target: string;
  readonly held: Held;
  /** Of a sequence: the tables that own it or take a default from it. */
  readonly tables: readonly Relation[];
}
export interface RoutineRow {
  readonly schema: string;
  readonly target: string;
  readonly held: Held;
  readonly open: boolean;
}
export interface DefaultRow {
  /** Whose new objects. */
  readonly owner: string;
  readonly schema: string | null;
  readonly target: string | null;
  readonly kind: 'tables' | 'sequences' | 'routines' | 'types' | 'schemas';
  readonly held: Held;
}

export const connection: Sql = sql`
  select current_database() as database, session_user as login, current_user as "user",
    current_setting('server_version_num')::int >= 160000 as "setOption"`;

const held = (acl: Sql, roles: readonly string[]): Sql => sql`(
  select coalesce(jsonb_object_agg(h.role, h.privileges), '{}') from (
    select r.rolname as role, jsonb_agg(lower(a.privilege_type)) as privileges
    from aclexplode(${acl}) a join pg_roles r on r.oid = a.grantee
    where r.rolname = any(${roles}) group by r.rolname
  ) h)`;

/** An ACL that is null is the default one, which `acldefault` gives. */
const isOpen = (acl: Sql, type: Sql, owner: Sql, privilege: string): Sql => sql`exists (
  select from aclexplode(coalesce(${acl}, acldefault(${type}, ${owner}))) a
  where a.grantee = 0 and a.privilege_type = ${privilege})`;

export const roleRows = (roles: readonly string[]): Sql => sql`
  select r.rolname as role,
    array_remove(array[
      case when r.rolcanlogin then 'nologin' end, case when r.rolsuper then 'nosuperuser' end,
      case when r.rolcreaterole then 'nocreaterole' end, case when r.rolcreatedb then 'nocreatedb' end,
      case when r.rolreplication then 'noreplication' end, case when r.rolbypassrls then 'nobypassrls' end
    ], null) as excess,
    array(
      select quote_ident(g.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid
      where m.member = r.oid order by 1
    ) as memberships,
    pg_has_role(session_user, r.oid,
      case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) as settable
  from pg_roles r where r.rolname = any(${roles})`;

export const schemaRows = (roles: readonly string[], schemas: readonly string[]): Sql => sql`
  select * from (
    select n.nspname as schema, quote_ident(n.nspname) as target, ${held(sql`n.nspacl`, roles)} as held,
      ${isOpen(sql`n.nspacl`, sql`'n'`, sql`n.nspowner`, 'USAGE')} as open,
      has_schema_privilege(n.oid, 'CREATE') as creatable
    from pg_namespace n) s
  where schema = any(${schemas}) or held <> '{}' order by 1`;

export const relationRows = (roles: readonly string[], schemas: readonly string[]): Sql => sql`
  select * from (
    select n.nspname as schema, c.relname as name, c.relkind = 'S' as sequence,
      format('%I.%I', n.nspname, c.relname) as target, ${held(sql`c.relacl`, roles)} as held,
      coalesce((
        select jsonb_agg(jsonb_build_object('schema', tn.nspname, 'name', t.relname))
        from pg_class t join pg_namespace tn on tn.oid = t.relnamespace
        where c.relkind = 'S' and t.oid in (
          select d.refobjid from pg_depend d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid
            and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
          union
          select ad.adrelid from pg_depend d join pg_attrdef ad on ad.oid = d.objid
          where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid)
      ), '[]') as tables
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')) r
  where schema = any(${schemas}) or held <> '{}' order by 1, 2`;

export const routineRows = (roles: readonly string[], schemas: readonly string[]): Sql => sql`
  select * from (
    select n.nspname as schema,
      format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) as target,
      ${held(sql`p.proacl`, roles)} as held,
      ${isOpen(sql`p.proacl`, sql`'f'`, sql`p.proowner`, 'EXECUTE')} as open
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace) p
  where schema = any(${schemas}) or held <> '{}' order by 1, 2`;

/** `alter default privileges`: what roles get on objects that do not exist yet. */
export const defaultRows = (roles: readonly string[]): Sql => sql`
  select * from (
    select pg_get_userbyid(d.defaclrole) as owner, n.nspname as schema, quote_ident(n.nspname) as target,
      case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines'
        when 'T' then 'types' else 'schemas' end as kind,
      ${held(sql`d.defaclacl`, roles)} as held
    from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace) d
  where held <> '{}' order by 1, 2, 4`;
