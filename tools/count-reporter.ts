import type { Reporter, TestModule } from 'vitest/node';

/** Prints `N passed, N failed, N skipped` alone on the last line, and why each skipped test was skipped. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0;
    // Without one test file the run did not happen, whatever the reason.
    let failed = unhandled.length + (modules.length === 0 ? 1 : 0);
    const skipped: string[] = [];
    for (const file of modules) {
      const failedBefore = failed;
      for (const test of file.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') passed += 1;
        else if (result.state === 'failed') failed += 1;
        else
          skipped.push(
            `${file.relativeModuleId} > ${test.fullName}: ${(result.state === 'skipped' && result.note) || 'no reason given'}`,
          );
      }
      // A file that failed to load, whose hooks failed, or that holds no test must not count as green.
      if (file.state() === 'failed' && failed === failedBefore) failed += 1;
    }
    if (skipped.length > 0)
      process.stdout.write(`\nSkipped:\n${skipped.map((line) => `  ${line}`).join('\n')}\n`);
    process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  }
}
