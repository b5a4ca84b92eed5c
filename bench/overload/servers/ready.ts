/** Tells the parent where to send requests, answers when it asks for the state, and ends with it. */
export function ready(origin: string, state: () => unknown): void {
  process.on('message', () => process.send?.(state() ?? null));
  process.on('disconnect', () => process.exit());
  process.send?.(origin);
}
