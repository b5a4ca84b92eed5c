/**
 * `plimsoll/testing`: for tests of an app.
 *
 * Guarantee: {@link untilIdle} resolves only when everything that was set off has happened.
 */
export { untilIdle } from './until-idle.ts';
export { stress } from './stress.ts';
