import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { text } from 'node:stream/consumers';

const bin = createRequire(import.meta.url).resolve('@plimsoll/cli/bin');
const page = path.resolve(import.meta.dirname, '../../../docs/guides/what-happened.md');

/** What a person types in the folder of the shop, with single quotes as in a shell; and what that answers. */
export async function plimsoll(
  line: string,
  databaseUrl: string,
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const [, ...words] = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(
    ([, quoted, plain]) => quoted ?? plain ?? '',
  );
  const child = spawn(process.execPath, [bin, ...words], {
    cwd: path.resolve(import.meta.dirname, '..'),
    env: { ...process.env, DATABASE_URL: databaseUrl },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
  const [out, err, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { code: code as number, out, err };
}

/** A block of the guide: the command, and what it answers. */
export interface Shown {
  readonly command: string;
  readonly answer: string;
}

/** The blocks of a section of the guide. */
export async function shownIn(section: string): Promise<readonly Shown[]> {
  const sections = (await readFile(page, 'utf8')).split(/^## /m);
  const own = sections.find((each) => each.startsWith(`${section}\n`));
  if (own === undefined) throw new Error(`the guide has no section ${JSON.stringify(section)}`);
  return [...own.matchAll(/^```\n\$ (plimsoll .*)\n([\s\S]*?)^```$/gm)].map(
    ([, command = '', answer = '']) => ({
      command,
      answer,
    }),
  );
}

/** Whatever numbers, ids and columns' widths there are, and in which order things happened at once. */
export function shapeOf(answer: string): string[] {
  return answer
    .trimEnd()
    .split('\n')
    .map((line) =>
      line
        .replaceAll(/[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/g, '#')
        .replaceAll(/\d[\d,.]*/g, '#')
        .replaceAll(/(?<=\S) {2,}/g, '  ')
        .replaceAll(/[├└]/g, '├')
        .replaceAll('│', ' ')
        .trimEnd(),
    )
    .toSorted();
}
