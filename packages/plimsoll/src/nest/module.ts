import {
  Module,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
  type OnApplicationShutdown,
  type OnModuleInit,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, HttpAdapterHost } from '@nestjs/core';
import { createApp, type App, type AppOptions } from '../app/app.ts';
import type { Plan } from '../app/plan.ts';
import { createDatabase, type Database, type DatabaseOptions } from '../database/database.ts';
import { sql } from '../database/sql.ts';
import type { ContextOptions } from '../express/arrival.ts';
import { PlimsollError } from '../kernel/errors.ts';
import { createLifecycle, type Lifecycle } from '../kernel/lifecycle.ts';
import { appDatabase } from './app-database.ts';
import { PlimsollExceptionFilter } from './exception-filter.ts';
import { addRequestContext } from './request-context.ts';
import { SeenInterceptor } from './seen-interceptor.ts';
import { PlimsollApp, PlimsollDatabase } from './tokens.ts';

/** What both modules do to each request. */
export type NestContextOptions = Omit<ContextOptions, 'app'>;

export interface NestScopeOptions {
  /** Whether every module may inject without importing. Default false. */
  readonly isGlobal?: boolean;
}

/** An app of yours, made with `listen: false`, or what it is made of. */
export type PlimsollModuleOptions = NestContextOptions &
  ({ readonly app: App } | ({ readonly plan: Plan } & Omit<AppOptions, 'listen'>));

/** A database of yours, or what it is made of. */
export type PlimsollDatabaseModuleOptions = NestContextOptions &
  ({ readonly database: Database } | DatabaseOptions);

/** As in Nest's own modules: the factory gets what `inject` lists. */
export interface NestAsyncOptions<Options>
  extends NestScopeOptions, Pick<ModuleMetadata, 'imports'>, Pick<FactoryProvider<Options>, 'inject'> {
  readonly useFactory: FactoryProvider<Options>['useFactory'];
}

const settings = Symbol('plimsoll settings');
const running = Symbol('plimsoll lifecycle');

/**
 * An app inside Nest: provides {@link PlimsollApp} and {@link PlimsollDatabase}. The app starts with Nest, which
 * rejects with its error if it cannot, and stops after Nest's HTTP server has ended.
 */
export class PlimsollModule {
  static forRoot(options: PlimsollModuleOptions & NestScopeOptions): DynamicModule {
    return PlimsollModule.forRootAsync({ ...scopeOf(options), useFactory: () => options });
  }

  static forRootAsync(options: NestAsyncOptions<PlimsollModuleOptions>): DynamicModule {
    return dynamicModule(PlimsollModule, options, appProviders, [PlimsollApp, PlimsollDatabase]);
  }
}
Module({})(PlimsollModule);

/** Only the database inside Nest, without an app: provides {@link PlimsollDatabase}. */
export class PlimsollDatabaseModule {
  static forRoot(options: PlimsollDatabaseModuleOptions & NestScopeOptions): DynamicModule {
    return PlimsollDatabaseModule.forRootAsync({ ...scopeOf(options), useFactory: () => options });
  }

  static forRootAsync(options: NestAsyncOptions<PlimsollDatabaseModuleOptions>): DynamicModule {
    return dynamicModule(PlimsollDatabaseModule, options, databaseProviders, [PlimsollDatabase]);
  }
}
Module({})(PlimsollDatabaseModule);

const appProviders: readonly Provider[] = [
  { provide: PlimsollApp, inject: [settings], useFactory: appOf },
  { provide: PlimsollDatabase, inject: [PlimsollApp], useFactory: appDatabase },
  { provide: running, inject: [PlimsollApp], useFactory: withNest },
];

const databaseProviders: readonly Provider[] = [
  { provide: PlimsollDatabase, inject: [settings], useFactory: databaseOf },
  {
    provide: running,
    inject: [PlimsollDatabase],
    useFactory: (database: Database) => withNest(lifecycleOf(database)),
  },
];

/** Settings come from a factory, never as a value: Nest may print values, and an app that does not run throws. */
function dynamicModule<Options extends NestContextOptions>(
  module: DynamicModule['module'],
  { isGlobal = false, imports = [], inject = [], useFactory }: NestAsyncOptions<Options>,
  providers: readonly Provider[],
  exports: NonNullable<DynamicModule['exports']>,
): DynamicModule {
  return {
    module,
    global: isGlobal,
    imports,
    providers: [
      { provide: settings, inject, useFactory },
      ...providers,
      {
        provide: Symbol('plimsoll context'),
        inject: [settings, HttpAdapterHost, PlimsollDatabase],
        useFactory: (options: Options, host: HttpAdapterHost, database: Database) =>
          addRequestContext(host, { ...options, app: { database } }),
      },
      { provide: APP_FILTER, useClass: PlimsollExceptionFilter },
      { provide: APP_INTERCEPTOR, useClass: SeenInterceptor },
    ],
    exports,
  };
}

const scopeOf = ({ isGlobal }: NestScopeOptions): NestScopeOptions =>
  isGlobal === undefined ? {} : { isGlobal };

function appOf(options: PlimsollModuleOptions | undefined): App {
  if (options !== undefined && 'app' in options) return options.app;
  if (options?.plan === undefined)
    throw new PlimsollError(
      'PL_CONFIG',
      'PlimsollModule got neither an app nor a plan; give { app } or { plan } to forRoot, or return it from useFactory',
    );
  return createApp(options.plan, { ...options, listen: false });
}

function databaseOf(options: PlimsollDatabaseModuleOptions | undefined): Database {
  if (options !== undefined && 'database' in options) return options.database;
  if (options?.url === undefined)
    throw new PlimsollError(
      'PL_CONFIG',
      'PlimsollDatabaseModule got neither a database nor a url; give { database } or { url } to forRoot, or return it from useFactory',
    );
  return createDatabase(options);
}

/** A database that cannot be reached is known when Nest starts, not at the first request. */
function lifecycleOf(database: Database): Lifecycle {
  return createLifecycle({
    name: 'database',
    start: async () => void (await database.execute(sql`select 1`)),
    stop: () => database.close(),
  });
}

/**
 * `onModuleInit`, so that those of the importing modules can use it already; `onApplicationShutdown`, which is
 * after Nest's server has answered the requests under way.
 */
function withNest(lifecycle: Lifecycle): OnModuleInit & OnApplicationShutdown {
  return {
    onModuleInit: () => lifecycle.start(),
    onApplicationShutdown: () => lifecycle.stop(),
  };
}
