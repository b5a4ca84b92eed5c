/** Tells the messages of one app from those of others: its own, and those of the parts that it lists. */
export function isOf(
  scope: object,
  parts: readonly object[] = [],
): (message: { readonly scope: object }) => boolean {
  const scopes = new Set([scope, ...parts]);
  return (message) => scopes.has(message.scope);
}
