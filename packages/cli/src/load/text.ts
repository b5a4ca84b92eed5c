/** How the report and the progress line write numbers. */
export function latencyText(ms: number): string {
  if (ms >= 9_995) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

export function durationText(ms: number): string {
  return `${Math.round(ms / 1000)}s`;
}

export function shareText(share: number): string {
  if (share === 0) return '0 %';
  return `${share < 0.1 ? Number((share * 100).toPrecision(2)) : Math.round(share * 100)} %`;
}

export function rateText(rps: number): string {
  return `${rps >= 100 ? Math.round(rps).toLocaleString('en-US') : Number(rps.toPrecision(3))}`;
}

/** Words into lines of at most `width`. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}
