import type { Plan } from 'plimsoll';
import { createDatabase, type Database } from 'plimsoll/database';
import {
  createViewBuilder,
  dropRetired,
  dropView,
  listViews,
  rebuildView,
  switchView,
  viewName,
  type Databases,
  type PlacedView,
  type ViewStatus,
} from 'plimsoll/views';
import type { Command, CommandGroup, Values } from '../command.ts';
import { numberOption, UsageError } from '../failure.ts';
import { progressLine } from '../load/progress-line.ts';
import { loadPlan, planOption } from '../plan-file.ts';
import { untilStopped } from '../process/until-stopped.ts';
import { joinServers } from '../servers.ts';
import { describeStuck, renderProgress, renderViews, spanText } from '../views/render-views.ts';

const json = { about: 'print JSON on standard output' } as const;
const view = { value: '<view>', about: 'schema and name: orders.summary' } as const;
const options = { plan: planOption, json };
/** Between two looks at how far a build is. */
const lookMs = 250;

interface Opened extends AsyncDisposable {
  readonly plan: Plan;
  readonly database: Database;
  readonly databases: Databases;
  readonly places: readonly PlacedView[];
}

async function open(values: Values): Promise<Opened> {
  const plan = await loadPlan(values);
  const servers = await joinServers(plan, (line) => void process.stderr.write(`${line}\n`));
  const database = createDatabase({ url: servers.url, applicationName: `${plan.name} views` });
  return {
    plan,
    database,
    databases: { database, log: database },
    places: plan.modules.flatMap((module) => module.views),
    async [Symbol.asyncDispose]() {
      await database.close();
      await servers[Symbol.asyncDispose]();
    },
  };
}

function named(argument: string | undefined): { readonly schema: string; readonly name: string } {
  const [schema, name, ...more] = argument?.split('.') ?? [];
  if (schema !== undefined && name !== undefined && name !== '' && more.length === 0) return { schema, name };
  throw new UsageError(
    `${argument === undefined ? 'no view is named' : `${JSON.stringify(argument)} is no name of a view`}; give schema and name, such as orders.summary, from plimsoll views list`,
  );
}

async function tablesOf(databases: Databases, argument: string | undefined): Promise<readonly ViewStatus[]> {
  const { schema, name } = named(argument);
  const all = await listViews(databases);
  const own = all.filter((each) => each.schema === schema && each.name === name);
  if (own.length > 0) return own;
  const known = [...new Set(all.map((each) => `${each.schema}.${each.name}`))].join(', ');
  throw new UsageError(`the database has no view ${argument}; it has ${known || 'none'}`);
}

/** JSON where it was asked for, else what is for people. */
function print(values: Values, value: unknown, text: string): void {
  process.stdout.write(values['json'] === true ? `${JSON.stringify(value, null, 2)}\n` : `${text}\n`);
}

const list: Command = {
  summary: 'all tables of all views, and how far each is behind the log',
  options,
  notes: 'Exit code 1: the next event of a view cannot be applied.',
  async run(values) {
    await using opened = await open(values);
    const tables = await listViews(opened.databases);
    print(values, tables, renderViews(tables));
    return tables.some(({ failure }) => failure !== null) ? 1 : 0;
  },
};

const show: Command = {
  summary: 'one view: its tables, and what it is made of',
  options,
  argument: view,
  async run(values, argument) {
    await using opened = await open(values);
    const tables = await tablesOf(opened.databases, argument);
    const declared = opened.places
      .filter((place) => viewName(place) === argument)
      .map((place) => ({
        version: place.view.version,
        key: place.view.key,
        columns: place.view.columns,
        events: [...place.view.events.keys()],
        history: place.view.history,
      }));
    const described = declared.map(
      ({ version, key, columns, events, history }) =>
        `version ${version}: key ${columnsText(key)}; ${columnsText(columns)}; made from ${events.join(', ')}; history: ${history}`,
    );
    const lines = [
      renderViews(tables),
      '',
      ...(described.length > 0 ? described : ['no code of the plan declares it']),
    ];
    print(values, { tables, declared }, lines.join('\n'));
    return 0;
  },
};

const columnsText = (columns: Readonly<Record<string, string>>): string =>
  Object.entries(columns)
    .map(([name, type]) => `${name} ${type}`)
    .join(', ');

const rebuild: Command = {
  summary: 'build a view anew from the log beside the live one, then switch to it',
  options: {
    ...options,
    batch: { value: '<events>', about: 'in one transaction, at most (default 5000)' },
    rest: { value: '<share>', about: 'of the time, left to others: 0 to 0.95 (default 0.5)' },
    'no-switch': { about: 'leave the live one; plimsoll views switch does it later' },
    'no-wait': { about: 'only begin: a running app builds it' },
  },
  argument: view,
  notes:
    'What is built goes on where it was when this is stopped and begun again. A running app helps, or goes on.\nExit code 4: stopped before the end.',
  async run(values, argument) {
    const { schema, name } = named(argument);
    const batch = numberOption('batch', values['batch'], { min: 1, max: 100_000 });
    const restShare = numberOption('rest', values['rest'], { min: 0, max: 0.95 });
    const switches = values['no-switch'] !== true;
    await using opened = await open(values);
    const { databases, places } = opened;
    const table = await rebuildView(databases, places, `${schema}.${name}`);
    if (values['no-wait'] === true) {
      print(
        values,
        { table, state: 'building' },
        `${table} is being built; plimsoll views show ${argument} tells how far`,
      );
      return 0;
    }
    const builder = createViewBuilder({
      database: opened.database,
      views: places.filter((place) => viewName(place) === argument),
      switches,
      ...(batch === undefined ? {} : { batch }),
      ...(restShare === undefined ? {} : { restShare }),
    });
    const startedMs = performance.now();
    try {
      await builder.start();
      const end = await follow(databases, table, String(argument), switches);
      if (end === undefined) return 4;
      const seconds = (performance.now() - startedMs) / 1_000;
      const { position, state } = end;
      print(
        values,
        { table, state, position, seconds },
        `${table} is ${state === 'live' ? 'live' : 'built'}: ${position.toLocaleString('en-US')} events in ${spanText(seconds)}`,
      );
      return 0;
    } finally {
      await builder.stop();
    }
  },
};

/** Until the table is live, or as far as the log; undefined when the person stops it. */
async function follow(
  databases: Databases,
  table: string,
  name: string,
  switches: boolean,
): Promise<ViewStatus | undefined> {
  const progress = progressLine();
  let stopped = false;
  const stop = new AbortController();
  void untilStopped().then(() => {
    stopped = true;
    stop.abort();
  });
  const [first] = await one(databases, name, table);
  const before = first?.built?.events ?? 0;
  const startedMs = performance.now();
  try {
    for (;;) {
      const [status] = await one(databases, name, table);
      if (status === undefined) throw new UsageError(`${table} is no longer there`);
      if (status.state === 'retired')
        throw new UsageError(
          `${table} is retired: another version was switched to, or its build was begun anew`,
        );
      if (status.failure !== null) throw new Error(describeStuck(status));
      if (switches ? status.state === 'live' : status.behind === 0) return status;
      const seconds = (performance.now() - startedMs) / 1_000;
      const done = status.built?.events ?? 0;
      // Of late, not with the time during which nobody built it.
      const eventsPerSecond = seconds > 0 ? (done - before) / seconds : 0;
      progress.show(renderProgress(name, { done, total: done + status.behind, eventsPerSecond }));
      if (stopped) return undefined;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, lookMs);
        stop.signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
      });
    }
  } finally {
    progress.end();
  }
}

async function one(databases: Databases, name: string, table: string): Promise<readonly ViewStatus[]> {
  return (await listViews(databases)).filter(
    (each) => `${each.schema}.${each.name}` === name && each.table === table,
  );
}

const switchTo: Command = {
  summary: 'let the name of a view show the table that was built',
  options,
  argument: view,
  notes: 'Exit code 3: there is none, or it is too far behind.',
  async run(values, argument) {
    await using opened = await open(values);
    const tables = await tablesOf(opened.databases, argument);
    const building = tables.find(({ state }) => state === 'building');
    const place = opened.places.find(
      (each) => viewName(each) === argument && each.view.version === building?.version,
    );
    if (building !== undefined && place === undefined)
      throw new UsageError(
        `version ${building.version} of ${argument} is being built, and no code of the plan declares it`,
      );
    const switched =
      place === undefined
        ? ({ outcome: 'nothing' } as const)
        : await switchView(opened.databases, place, 5_000);
    const said = {
      switched: `${argument} shows ${building?.table}`,
      behind: `${building?.table} is ${building?.behind} events behind; a running app, or plimsoll views rebuild, brings it up`,
      nothing: `no table of ${argument} is being built`,
    }[switched.outcome];
    print(values, switched, said);
    return switched.outcome === 'switched' ? 0 : 3;
  },
};

const drop: Command = {
  summary: 'drop the retired tables of a view, or all of a view that is no longer declared',
  options: { ...options, all: { about: 'the view itself, and what holds the log for it' } },
  argument: view,
  async run(values, argument) {
    await using opened = await open(values);
    const { schema, name } = named(argument);
    await tablesOf(opened.databases, argument);
    const all = values['all'] === true;
    if (all && opened.places.some((place) => viewName(place) === argument))
      throw new UsageError(
        `${argument} is declared in the plan, which would make it again; take it out first`,
      );
    const dropped = all
      ? await dropView(opened.databases, schema, name)
      : await dropRetired(opened.databases, schema, name);
    print(values, { dropped }, dropped.length === 0 ? 'nothing to drop' : `dropped ${dropped.join(', ')}`);
    return 0;
  },
};

export const views: CommandGroup = {
  summary: 'see, rebuild, switch and drop the views of the plan',
  commands: { list, show, rebuild, switch: switchTo, drop },
};
