import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { migrationsOf, type Plan } from 'plimsoll';
import {
  checkBoundaries,
  compareWithTodo,
  describeViolation,
  readRelations,
  readTodo,
  renderMap,
  writeTodo,
  type Recorded,
} from 'plimsoll/boundaries';
import { createDatabase, migrate, sql, type Database } from 'plimsoll/database';
import { Closing } from '../closing.ts';
import type { Command } from '../command.ts';
import { describeFailure, UsageError } from '../failure.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { openServers } from '../servers.ts';

const todoName = 'boundaries.todo.json';
const say = (line: string): void => void process.stderr.write(`${line}\n`);

export const check: Command = {
  summary: 'prove that each module touches only what is its own',
  options: {
    plan: planOption,
    update: { about: `record today's violations in ${todoName}, so that only new ones fail` },
    map: { about: 'print a map of the modules as Markdown with a Mermaid diagram' },
    'no-catalog': { about: 'look at imports and uses only, without a database' },
  },
  argument: { value: '<what>', about: 'boundaries' },
  notes:
    'The catalog is that of the database of the plan, else of DATABASE_URL, which must be migrated, else of\nthe embedded PostgreSQL, to which missing migrations are applied. Exit code 1: violations, or entries of\nthe file that are no longer true.',
  async run(values, what) {
    if (what !== 'boundaries')
      throw new UsageError(
        `plimsoll check ${what === undefined ? 'needs what to check' : `cannot check ${JSON.stringify(what)}`}; there is plimsoll check boundaries`,
      );
    const plan = await loadPlan(values);
    const root = dirname(resolve(typeof values['plan'] === 'string' ? values['plan'] : 'plimsoll.plan.ts'));
    if (values['no-catalog'] === true) return report(plan, root, values, undefined);
    await using catalog = await openCatalog(plan);
    return await report(plan, root, values, catalog.database);
  },
};

async function report(
  plan: Plan,
  root: string,
  values: Parameters<Command['run']>[0],
  database: Database | undefined,
): Promise<number> {
  const { name, modules } = plan;
  if (values['map'] === true) {
    const relations = database === undefined ? [] : await readRelations(database);
    process.stdout.write(renderMap({ name, modules, relations }));
    return 0;
  }
  const { modulesDir } = plan.boundaries ?? {};
  const findings = await checkBoundaries({
    modules,
    root,
    ...(modulesDir === undefined ? {} : { modulesDir }),
    ...(database === undefined ? {} : { database }),
  });
  const file = join(root, todoName);
  const todo = await readRecorded(file);
  const catalog =
    findings.objects === undefined ? 'no catalog' : `${findings.objects} objects of the catalog`;
  const seen = `${modules.length} modules, ${findings.files} files, ${findings.imports} imports, ${catalog}`;
  if (values['update'] === true) {
    const { length } = findings.violations;
    if (length > 0 || todo.length > 0) await writeFile(file, writeTodo(findings, todo));
    process.stdout.write(`${length} violations recorded in ${todoName}; ${seen}\n`);
    return 0;
  }
  const { fresh, recorded, stale } = compareWithTodo(findings, todo);
  const lines = [
    ...fresh.map(describeViolation),
    ...stale.map(
      (entry) =>
        `${todoName}: ${entry.where} no longer ${entry.what}: run plimsoll check boundaries --update, so that it stays so`,
    ),
    `${fresh.length} violations, ${recorded} recorded, ${stale.length} stale; ${seen}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return fresh.length === 0 && stale.length === 0 ? 0 : 1;
}

async function readRecorded(file: string): Promise<readonly Recorded[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  return readTodo(text, file);
}

interface Catalog extends AsyncDisposable {
  /** Undefined when no server answers. */
  readonly database: Database | undefined;
}

async function openCatalog(plan: Plan): Promise<Catalog> {
  await using opened = new Closing();
  let database: Database;
  try {
    const servers = opened.use(await openServers(plan, say));
    database = opened.use(createDatabase({ url: servers.url, applicationName: `${plan.name} check` }));
    await database.ping();
  } catch (error) {
    say(`the catalog is not checked, because no database answers: ${describeFailure(error)}`);
    return { database: undefined, async [Symbol.asyncDispose]() {} };
  }
  const given = plan.database?.url ?? process.env['DATABASE_URL'];
  // A check does not change a database that is somebody's; the embedded one is made for this.
  if (given === undefined || given === '') await migrate(database, migrationsOf(plan));
  else await assertMigrated(database, plan);
  const kept = opened.move();
  return { database, [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose]() };
}

async function assertMigrated(database: Database, plan: Plan): Promise<void> {
  const { ready } = await database.one<{ ready: boolean }>(
    sql`select to_regclass('plimsoll.migration') is not null as ready`,
  );
  const rows = ready
    ? await database.query<{ component: string; applied: number }>(
        sql`select component, count(*)::int as applied from plimsoll.migration group by component`,
      )
    : [];
  const applied = new Map(rows.map((row) => [row.component, row.applied]));
  const missing: string[] = [];
  for (const { name, migrations } of plan.modules) {
    if (migrations === undefined) continue;
    const files = (await readdir(migrations)).filter((file) => file.endsWith('.sql'));
    if ((applied.get(name) ?? 0) < files.length) missing.push(name);
  }
  if (missing.length > 0)
    throw new UsageError(
      `the database lacks migrations of ${missing.join(', ')}; run plimsoll migrate first, or check with --no-catalog`,
    );
}
