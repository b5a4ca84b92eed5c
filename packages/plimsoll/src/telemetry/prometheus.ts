import type { Attributes, Metric } from './metrics.ts';

export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8';

const unitSuffixes: Readonly<Record<string, string>> = { s: '_seconds', By: '_bytes' };

/** Prometheus' text format 0.0.4, with names by OpenTelemetry's rules of translation. */
export function prometheusText(metrics: readonly Metric[]): string {
  const lines: string[] = [];
  for (const metric of metrics) {
    const name = prometheusName(metric);
    lines.push(`# HELP ${name} ${escapeHelp(metric.description)}`, `# TYPE ${name} ${metric.kind}`);
    if (metric.kind !== 'histogram') {
      for (const { attributes, value } of metric.points)
        lines.push(`${name}${labels(attributes)} ${number(value)}`);
      continue;
    }
    for (const { attributes, counts, sumSeconds } of metric.points) {
      // Prometheus counts everything up to the edge, so each bucket holds those below it.
      let below = 0;
      for (const [index, count] of counts.entries()) {
        below += count;
        const le = metric.boundsSeconds[index];
        lines.push(
          `${name}_bucket${labels(attributes, le === undefined ? '+Inf' : number(le))} ${number(below)}`,
        );
      }
      lines.push(`${name}_sum${labels(attributes)} ${number(sumSeconds)}`);
      lines.push(`${name}_count${labels(attributes)} ${number(below)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** `http.server.request.duration` in `s` is `http_server_request_duration_seconds`. */
function prometheusName({ name, unit, kind }: Metric): string {
  const suffix = unitSuffixes[unit] ?? (unit === '1' && kind === 'gauge' ? '_ratio' : '');
  return `${identifier(name)}${suffix}${kind === 'counter' ? '_total' : ''}`;
}

function identifier(name: string): string {
  return name.replaceAll(/[^a-zA-Z0-9_]/g, '_').replace(/^(?=\d)/, '_');
}

function labels(attributes: Attributes, le?: string): string {
  const pairs = Object.entries(attributes).map(
    ([name, value]) => `${identifier(name)}="${escapeLabel(String(value))}"`,
  );
  if (le !== undefined) pairs.push(`le="${le}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '+Inf' : '-Inf';
}
