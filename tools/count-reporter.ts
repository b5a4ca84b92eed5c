import type { Reporter, TestModule } from 'vitest/node';

/** Prints `N passed, N failed, N skipped` alone on the last line, and why each skipped test was skipped. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    let failed = unhandled.length;
    const skipped: string[] = [];
    for (const file of modules) {
      let tests = 0;
      for (const test of file.children.allTests()) {
        tests += 1;
        const result = test.result();
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'failed') failed += 1;
        else skipped.push(`${file.relativeModuleId} > ${test.fullName}: ${(result.state === 'skipped' && result.note) || 'no reason given'}`);
      }
      // A file that fails to load, or holds no test at all, must not count as green.
      if (file.state() === 'failed' && (tests === 0 || file.errors().length > 0)) failed += 1;
    }
    if (skipped.length > 0) process.stdout.write(`\nSkipped:\n${skipped.map((line) => `  ${line}`).join('\n')}\n`);
    process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  }
}
