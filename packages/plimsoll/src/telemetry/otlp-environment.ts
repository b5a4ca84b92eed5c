import type { OtlpOptions } from './otlp.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** The exporter that OpenTelemetry's environment variables ask for; none without an endpoint. */
export function otlpFromEnvironment(environment: Environment, serviceName: string): OtlpOptions | undefined {
  const endpoint = environment['OTEL_EXPORTER_OTLP_ENDPOINT'];
  if (endpoint === undefined || endpoint === '' || environment['OTEL_SDK_DISABLED'] === 'true')
    return undefined;
  return {
    endpoint,
    headers: pairs(environment['OTEL_EXPORTER_OTLP_HEADERS']),
    resource: {
      'service.name': serviceName,
      'process.pid': process.pid,
      ...pairs(environment['OTEL_RESOURCE_ATTRIBUTES']),
      ...(environment['OTEL_SERVICE_NAME'] ? { 'service.name': environment['OTEL_SERVICE_NAME'] } : {}),
    },
  };
}

/** `key=value,key=value`, percent-encoded. */
function pairs(list = ''): Readonly<Record<string, string>> {
  const found: [string, string][] = [];
  for (const pair of list.split(',')) {
    const at = pair.indexOf('=');
    if (at > 0) found.push([pair.slice(0, at).trim(), decode(pair.slice(at + 1).trim())]);
  }
  return Object.fromEntries(found);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
