/** A line that is written again in place on a terminal, and now and then as a line of its own elsewhere. */
export interface ProgressLine {
  readonly style: { readonly color: boolean; readonly width: number };
  show(line: string): void;
  end(): void;
}

/** Between two lines where there is no terminal. */
const plainEveryMs = 10_000;

export function progressLine(stream: NodeJS.WriteStream = process.stderr): ProgressLine {
  const live = stream.isTTY && process.env['CI'] === undefined;
  const color = live && process.env['NO_COLOR'] === undefined;
  let lastMs = -Infinity;
  let shown = false;
  return {
    style: { color, width: Math.min(100, (stream.columns ?? 100) - 1) },
    show(line) {
      if (live) {
        // Carriage return, the line, then clear what an earlier, longer one has left.
        stream.write(`\r${line}\u001B[K`);
        shown = true;
        return;
      }
      if (performance.now() - lastMs < plainEveryMs) return;
      lastMs = performance.now();
      stream.write(`${line}\n`);
    },
    end() {
      if (live && shown) stream.write('\r\u001B[K');
      shown = false;
    },
  };
}
