/** The tables of `postgresCacheStore`, `postgresBus` and `recordInvalidation`, for `migrate` of `plimsoll/database`. */
export const cacheMigrations: { readonly component: string; readonly directory: URL } = {
  component: 'plimsoll.cache',
  directory: new URL('./migrations/', import.meta.url),
};
