/**
 * A tsquery that wants a word beginning with each word of the text; undefined when the text has none.
 * Only letters and digits are let through, so nothing in the text can be an operator.
 */
export function prefixQuery(text: string): string | undefined {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu);
  return words?.map((word) => `${word}:*`).join(' & ');
}
