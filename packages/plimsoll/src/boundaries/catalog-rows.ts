import { sql, type Sql } from '../database/sql.ts';

export interface ForeignKeyRow {
  readonly name: string;
  readonly schema: string;
  readonly table: string;
  readonly targetSchema: string;
  readonly targetTable: string;
}
export interface ViewRow {
  readonly schema: string;
  readonly name: string;
  readonly materialized: boolean;
  readonly targets: readonly Relation[];
}
export interface FunctionRow {
  readonly schema: string;
  readonly name: string;
  readonly language: string;
  /** The body of a function that is kept as text; empty for one that PostgreSQL has parsed. */
  readonly source: string;
  readonly definition: string;
  /** `search_path` of its own, if it sets one. */
  readonly searchPath: string | null;
  /** What the body uses, if PostgreSQL has parsed it. */
  readonly targets: readonly Relation[];
}
export interface TriggerRow {
  readonly name: string;
  readonly schema: string;
  readonly table: string;
  readonly functionSchema: string;
  readonly functionName: string;
}
export interface Relation {
  readonly schema: string;
  readonly name: string;
}

/** No object of PostgreSQL itself. */
const ours = (schema: string): Sql =>
  sql`${sql.id(...(schema.split('.') as [string, string]))} not like 'pg\\_%' and ${sql.id(...(schema.split('.') as [string, string]))} <> 'information_schema'`;

const fromExtension = (catalog: string, oid: string): Sql =>
  sql`exists (
    select from pg_catalog.pg_depend e
    where e.classid = ${catalog}::regclass and e.objid = ${sql.id(...(oid.split('.') as [string, string]))}
      and e.deptype = 'e')`;

/** Tables, views and the like, by schema and name. */
export const relations: Sql = sql`
  select n.nspname as schema, c.relname as name, c.relkind in ('r', 'p') and not c.relispartition as "isTable"
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and ${ours('n.nspname')} and not ${fromExtension('pg_class', 'c.oid')}
  order by 1, 2`;

/** Those of partitions repeat the one of their table. */
export const foreignKeys: Sql = sql`
  select k.conname as name, n.nspname as schema, c.relname as "table",
    tn.nspname as "targetSchema", t.relname as "targetTable"
  from pg_catalog.pg_constraint k
  join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_class t on t.oid = k.confrelid join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  where k.contype = 'f' and k.conparentid = 0
  order by 2, 3, 1`;

export const views: Sql = sql`
  select n.nspname as schema, v.relname as name, v.relkind = 'm' as materialized,
    json_agg(distinct jsonb_build_object('schema', tn.nspname, 'name', t.relname)) as targets
  from pg_catalog.pg_class v
  join pg_catalog.pg_namespace n on n.oid = v.relnamespace
  join pg_catalog.pg_rewrite r on r.ev_class = v.oid
  join pg_catalog.pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    and d.refclassid = 'pg_class'::regclass and d.refobjid <> v.oid
  join pg_catalog.pg_class t on t.oid = d.refobjid
  join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  where v.relkind in ('v', 'm') and ${ours('n.nspname')} and not ${fromExtension('pg_class', 'v.oid')}
  group by 1, 2, 3 order by 1, 2`;

export const functions: Sql = sql`
  select n.nspname as schema, p.proname as name, l.lanname as language,
    case when p.prosqlbody is null then p.prosrc else '' end as source,
    case when p.prokind in ('f', 'p') then pg_catalog.pg_get_functiondef(p.oid) else '' end as definition,
    (select substr(c, 13) from unnest(p.proconfig) c where c like 'search\\_path=%') as "searchPath",
    coalesce((
      select json_agg(distinct jsonb_build_object('schema', tn.nspname, 'name', t.relname))
      from pg_catalog.pg_depend d
      join pg_catalog.pg_class t on t.oid = d.refobjid join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
      where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass
    ), '[]') as targets
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  join pg_catalog.pg_language l on l.oid = p.prolang
  where l.lanname in ('sql', 'plpgsql') and ${ours('n.nspname')} and not ${fromExtension('pg_proc', 'p.oid')}
  order by 1, 2, p.oid`;

export const triggers: Sql = sql`
  select g.tgname as name, n.nspname as schema, c.relname as "table",
    fn.nspname as "functionSchema", p.proname as "functionName"
  from pg_catalog.pg_trigger g
  join pg_catalog.pg_class c on c.oid = g.tgrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_proc p on p.oid = g.tgfoid join pg_catalog.pg_namespace fn on fn.oid = p.pronamespace
  where not g.tgisinternal and g.tgparentid = 0
  order by 2, 3, 1`;
