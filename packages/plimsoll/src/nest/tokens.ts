import type { App } from '../app/app.ts';
import type { Database } from '../database/database.ts';

/** A class for Nest, which takes it from the type of a constructor's parameter; nothing is ever made of it. */
type Token<T> = abstract new () => T;

/** The token and the type of the injected app. It answers calls from `onModuleInit` of the importing modules on. */
export const PlimsollApp = class PlimsollApp {} as unknown as Token<App>;
export type PlimsollApp = App;

/** The token and the type of the injected database: that of the app, or that of `PlimsollDatabaseModule`. */
export const PlimsollDatabase = class PlimsollDatabase {} as unknown as Token<Database>;
export type PlimsollDatabase = Database;
