import { describe, expect, test } from 'vitest';
import { applyEdits } from './edit.ts';

describe('an edit', () => {
  const edit = { file: 'a.ts', find: 'one', replace: '$& two' };

  test('replaces its text, as it stands', () => {
    expect(applyEdits('m', 'a.ts', 'zero one', [edit])).toBe('zero $& two');
  });

  test('fails when its text is gone, or is there more than once', () => {
    expect(() => applyEdits('m', 'a.ts', 'zero', [edit])).toThrow('mutant m: a.ts has its text 0 times');
    expect(() => applyEdits('m', 'a.ts', 'one one', [edit])).toThrow('has its text 2 times');
  });
});
