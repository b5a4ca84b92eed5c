/** A change of one source file. */
export interface Edit {
  /** Under `packages/plimsoll/src`. */
  readonly file: string;
  /** Must be there exactly once. */
  readonly find: string;
  readonly replace: string;
}

/** A wrong program that looks right: what somebody could have written in place of what is there. */
export interface Mutant {
  readonly name: string;
  /** What it does. */
  readonly does: string;
  readonly edits: readonly Edit[];
  /** Each of them must catch it. */
  readonly schedules: readonly string[];
}

/** Throws when the text has changed so that an edit no longer says what it did. */
export function applyEdits(mutant: string, file: string, source: string, edits: readonly Edit[]): string {
  let text = source;
  for (const { find, replace } of edits) {
    const count = text.split(find).length - 1;
    if (count !== 1)
      throw new Error(
        `mutant ${mutant}: ${file} has its text ${count} times, and must have it once; write the edit anew:\n${find}`,
      );
    text = text.replace(find, () => replace);
  }
  return text;
}
