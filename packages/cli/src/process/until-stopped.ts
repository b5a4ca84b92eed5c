/**
 * Resolves when the process is asked to stop: SIGINT, SIGTERM, or the end of the parent that started it with
 * an IPC channel, so that no child outlives a parent that was killed. A second signal ends it at once.
 */
export function untilStopped(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let asked = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (asked) process.exit(130);
    asked = true;
    resolve(signal);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  if (process.connected) process.once('disconnect', () => resolve('the parent ended'));
  return promise;
}
