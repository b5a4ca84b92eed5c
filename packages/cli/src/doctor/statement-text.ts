/** One statement on one line. */
export const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();

/**
 * The same for the text that the app sends and for the text in pg_stat_statements, which numbers constants as
 * further parameters: literals and parameters become `?`, lists of them one `?`.
 */
export function shapeOf(text: string): string {
  return oneLine(
    text
      .replaceAll(/\/\*.*?\*\//gs, ' ')
      .replaceAll(/--[^\n]*/g, ' ')
      .replaceAll(/'(?:[^']|'')*'/g, '?')
      .replaceAll(/\$\d+/g, '?')
      .replaceAll(/\b\d+(?:\.\d+)?\b/g, '?'),
  )
    .replaceAll(/\?(?: ?, ?\?)+/g, '?')
    .replaceAll(/ (?=[),])/g, '')
    .replace(/;$/, '')
    .toLowerCase();
}
