/** Starts a cluster, says where it is in one line of JSON, and stops it when its input ends. */
const [source = '../src/index.ts', options = '{}'] = process.argv.slice(2);
const { startCluster } = (await import(source)) as typeof import('../src/index.ts');

const log = (line: string): boolean => process.stderr.write(`${line}\n`);
const cluster = await startCluster({ ...(JSON.parse(options) as object), log });
const servers = [cluster.primary, ...cluster.replicas].map(({ name, pid, port, url }) => ({
  name,
  pid,
  port,
  url,
}));
process.stdout.write(`${JSON.stringify({ directory: cluster.directory, fresh: cluster.fresh, servers })}\n`);
process.stdin.once('end', () => {
  cluster.stop().then(
    () => process.exit(0),
    (error: unknown) => {
      log(String(error));
      process.exit(1);
    },
  );
});
process.stdin.resume();
