/** The table and the functions of `postgresStore`, for `migrate` of `plimsoll/database`. */
export const rateLimitMigrations: { readonly component: string; readonly directory: URL } = {
  component: 'plimsoll.rate-limit',
  directory: new URL('./migrations/', import.meta.url),
};
