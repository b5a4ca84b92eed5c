/** What `postgresql.conf` holds unless `settings` says otherwise. Durability stays at PostgreSQL's default. */
export const defaultSettings: Readonly<Record<string, string>> = {
  max_connections: '200',
  shared_preload_libraries: 'pg_stat_statements',
  wal_level: 'replica',
  hot_standby: 'on',
  max_wal_senders: '16',
  max_replication_slots: '16',
  // A replica that stays away longer than this loses its slot and is seeded anew, instead of filling the disk.
  max_slot_wal_keep_size: '4GB',
  wal_keep_size: '64MB',
  wal_receiver_status_interval: '1s',
  wal_retrieve_retry_interval: '200ms',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] ',
};

/** Settings this package decides: with another value it could not find or protect the server. */
export const reservedSettings: readonly string[] = [
  'cluster_name',
  'config_file',
  'data_directory',
  'hba_file',
  'ident_file',
  'external_pid_file',
  'hot_standby',
  'listen_addresses',
  'logging_collector',
  'port',
  'primary_conninfo',
  'primary_slot_name',
  'recovery_min_apply_delay',
  'unix_socket_directories',
];

/** What is wrong with the given settings, one sentence each. */
export function settingProblems(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => {
    if (!/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/i.test(name))
      return [`settings: '${name}' is not the name of a PostgreSQL setting.`];
    if (reservedSettings.includes(name.toLowerCase()))
      return [`settings.${name} is decided by startCluster and cannot be set; leave it out.`];
    if (typeof value !== 'string' || /[\n\r\0]/.test(value))
      return [`settings.${name} must be a string on one line, as in postgresql.conf.`];
    return [];
  });
}

function quote(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

function withStatements(libraries: string): string {
  const names = libraries
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return names.includes('pg_stat_statements') ? names.join(',') : [...names, 'pg_stat_statements'].join(',');
}

export interface Following {
  readonly port: number;
  readonly password: string;
  readonly slot: string;
  readonly applyDelayMs: number;
}

export interface ServerConfiguration {
  readonly name: string;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
  /** The server a replica streams from. */
  readonly following?: Following;
}

/** The whole `postgresql.conf`; it is written before every start. */
export function renderConfiguration(configuration: ServerConfiguration): string {
  const { name, port, following } = configuration;
  const lowered = Object.fromEntries(
    Object.entries(configuration.settings).map(([key, value]) => [key.toLowerCase(), value]),
  );
  const merged: Record<string, string> = { ...defaultSettings, ...lowered };
  merged['shared_preload_libraries'] = withStatements(merged['shared_preload_libraries'] ?? '');
  merged['listen_addresses'] = '127.0.0.1';
  merged['unix_socket_directories'] = '';
  merged['port'] = String(port);
  merged['cluster_name'] = `plimsoll ${name}`;
  if (following !== undefined) {
    merged['primary_conninfo'] =
      `host=127.0.0.1 port=${following.port} user=postgres password=${following.password} ` +
      `application_name=${following.slot} sslmode=disable connect_timeout=5`;
    merged['primary_slot_name'] = following.slot;
    merged['recovery_min_apply_delay'] = `${following.applyDelayMs}ms`;
  }
  const lines = Object.entries(merged).map(([key, value]) => `${key} = ${quote(value)}`);
  return `# Written by @plimsoll/embedded before every start: pass settings to startCluster instead of editing.\n${lines.join('\n')}\n`;
}

/** Everybody needs the password, replicas too; nothing but the loopback address is let in. */
export const hostBasedAuthentication = `# Written by @plimsoll/embedded before every start.
host all         all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
`;
