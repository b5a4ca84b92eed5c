import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface TemporaryFolder extends Disposable {
  readonly path: string;
}

/** A folder that is gone at the end of the scope. */
export function temporaryFolder(): TemporaryFolder {
  const folder = mkdtempSync(path.join(realpathSync(tmpdir()), 'plimsoll-tools-'));
  return { path: folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}
