import { chmodSync, mkdtempSync, realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'vitest';

/** An empty directory, removed when the test is over. The name holds a space and a quote on purpose. */
export function scratch({ onTestFinished }: Pick<TestContext, 'onTestFinished'>, mode = 0o755): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "embedded test's ")));
  chmodSync(path, mode);
  onTestFinished(() => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }));
  return path;
}
